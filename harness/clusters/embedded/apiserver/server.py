"""HTTP: one method for each verb. Next: ``watching``, which answers watches."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from harness.clusters.embedded.apiserver import answers, discovery, endpoints, reading, watching
from harness.clusters.embedded.apiserver.errors import ApiError, Reason, expired, not_served
from harness.clusters.embedded.apiserver.paging import Page, Pages
from harness.clusters.embedded.apiserver.reading import Form, Query
from harness.clusters.embedded.apiserver.registry import Part, Registry
from harness.clusters.embedded.apiserver.resources import RETURNED_WHEN_DELETED, Scope
from harness.clusters.embedded.apiserver.routes import Target, parse
from harness.clusters.embedded.apiserver.store import encode

_log = logging.getLogger(__name__)

MAX_BODY = 3 * 1024 * 1024
"""Bytes of a request, as of a real API server."""

_HEALTH = {"/healthz", "/livez", "/readyz"}


class Server:
    """The API over HTTP."""

    def __init__(self, registry: Registry) -> None:
        """Serve a registry."""
        self._registry = registry
        self._store = registry.store
        self._pages = Pages()
        verb = Callable[[web.Request, Target], Awaitable[web.StreamResponse]]
        self._verbs: Mapping[tuple[str, bool], verb] = {
            ("GET", True): self._get,
            ("GET", False): self._list,
            ("POST", False): self._create,
            ("PUT", True): self._replace,
            ("PATCH", True): self._patch,
            ("DELETE", True): self._delete,
            ("DELETE", False): self._delete_collection,
        }

    def application(self) -> web.Application:
        """Return the application that a runner serves."""
        application = web.Application(client_max_size=MAX_BODY)
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except ApiError as error:
            return answers.json(encode(error.status()), error.code)
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001  # a bug of ours must reach client and log
            _log.exception("%s %s", request.method, request.path_qs)
            failure = ApiError(Reason.INTERNAL_ERROR, f"the API server failed: {error!r}")
            return answers.json(encode(failure.status()), failure.code)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path in _HEALTH:
            return web.Response(text="ok")
        if request.method == "GET" and (found := discovery.document(request.path)):
            return answers.json(encode(found))
        target = parse(request.path)
        reading.refuse_unserved_options(request.query)
        verb = self._verbs.get((request.method, bool(target.name)))
        if verb is None or (target.subresource and request.method == "DELETE"):
            message = f"{request.method} is not supported on {request.path}"
            raise ApiError(Reason.METHOD_NOT_ALLOWED, message)
        return await verb(request, target)

    async def _get(self, request: web.Request, target: Target) -> web.Response:
        render = answers.renderer(target.kind, reading.form(request), request.query)
        if reading.flag(request.query, "watch"):
            raise not_served("a watch of one object by its path (use fieldSelector=metadata.name=)")
        return answers.json(render(endpoints.get(self._store, target.kind, target.key)))

    async def _list(self, request: web.Request, target: Target) -> web.StreamResponse:
        form, query = reading.form(request), request.query
        if reading.flag(query, "watch"):
            return await self._stream(request, _watch(target, form, query))
        return answers.listed(target.kind, self._page(target, query), form, query)

    async def _create(self, request: web.Request, target: Target) -> web.Response:
        if not target.namespace and target.kind.scope is Scope.NAMESPACED:
            message = f"{target.kind.plural} are created in a namespace, which the path names"
            raise ApiError(Reason.METHOD_NOT_ALLOWED, message)
        record = self._registry.create(target, await reading.new_object(request, target))
        return answers.written(record, request, 201)

    async def _replace(self, request: web.Request, target: Target) -> web.Response:
        value = await reading.body(request)
        record = self._registry.update(target, lambda _: value, Part(target.subresource))
        return answers.written(record, request)

    async def _patch(self, request: web.Request, target: Target) -> web.Response:
        edit = await reading.edit(request, target)
        record = self._registry.update(target, edit, Part(target.subresource))
        return answers.written(record, request)

    async def _delete(self, request: web.Request, target: Target) -> web.Response:
        record = self._registry.delete(target, await reading.delete_options(request))
        remains = self._store.find(target.kind, target.key) is not None
        if remains or target.kind.name in RETURNED_WHEN_DELETED:
            return answers.json(record.body)
        return answers.deleted(target, record)

    async def _delete_collection(self, request: web.Request, target: Target) -> web.Response:
        options = await reading.delete_options(request)
        selection = reading.selection(target, request.query)
        records = self._registry.delete_collection(target.kind, selection, options)
        page = Page(records, self._store.version)
        return answers.listed(target.kind, page, Form.OBJECT, request.query)

    def _page(self, target: Target, query: Query) -> Page:
        limit = reading.number(query, "limit")
        if token := query.get("continue"):
            return self._pages.next(token, limit)
        version = reading.number(query, "resourceVersion")
        self._store.require_known(version)
        if query.get("resourceVersionMatch") == "Exact" and version != self._store.version:
            raise expired(f"resource version {version} is no longer kept whole: list the newest")
        selection = reading.selection(target, query)
        records = endpoints.listed(self._store, target.kind, target.namespace)
        if selection.filters:
            records = [record for record in records if selection.matches(record.value)]
        return self._pages.first(records, self._store.version, limit)

    async def _stream(self, request: web.Request, watch: watching.Watch) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": reading.JSON})
        async with contextlib.aclosing(watching.stream(self._store, watch)) as lines:
            first = await anext(lines)  # raises what makes the watch impossible: a plain Status
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):  # the client has gone: so has its watch
                if first:
                    await response.write(first)
                async for data in lines:
                    await response.write(data)
        return response


def _watch(target: Target, form: Form, query: Query) -> watching.Watch:
    """Read what a client wants to watch; version 0 and none begin with all there is."""
    initial = reading.flag(query, "sendInitialEvents")
    bookmarks = watching.Bookmarks.NONE
    if reading.flag(query, "allowWatchBookmarks"):
        ends = watching.Bookmarks.INITIAL_EVENTS_END
        bookmarks = ends if initial else watching.Bookmarks.ALLOWED
    seconds = reading.number(query, "timeoutSeconds")
    return watching.Watch(
        kind=target.kind,
        selection=reading.selection(target, query),
        version=0 if initial else reading.number(query, "resourceVersion"),
        bookmarks=bookmarks,
        seconds=seconds or random.uniform(1800, 3600),  # noqa: S311  # as a real API server
        render=answers.renderer(target.kind, form, query),
    )
