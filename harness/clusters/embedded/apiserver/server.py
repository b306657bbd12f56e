"""HTTP: reads a request, calls the verb, encodes the answer. Next: ``watching``, for watches."""

from __future__ import annotations

import contextlib
import enum
import logging
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from harness.clusters.embedded.apiserver import discovery, patch, watching
from harness.clusters.embedded.apiserver.errors import (
    ApiError,
    Cause,
    Reason,
    expired,
    invalid,
    not_served,
)
from harness.clusters.embedded.apiserver.paging import Page, Pages
from harness.clusters.embedded.apiserver.printers import table
from harness.clusters.embedded.apiserver.registry import DeleteOptions, Part, Registry
from harness.clusters.embedded.apiserver.resources import Kind, Object, Scope
from harness.clusters.embedded.apiserver.routes import Target, parse
from harness.clusters.embedded.apiserver.selectors import Selection, parse_fields, parse_labels
from harness.clusters.embedded.apiserver.store import Record, decode, encode

_log = logging.getLogger(__name__)

JSON = "application/json"
MAX_BODY = 3 * 1024 * 1024
"""Bytes of a request, as of a real API server."""

_HEALTH = {"/healthz", "/livez", "/readyz"}
_TRUE = {"1", "true", "True"}


class Form(enum.Enum):
    """How the client wants objects: as they are, or as rows of a table."""

    OBJECT = "object"
    TABLE = "table"


class Server:
    """The API over HTTP."""

    def __init__(self, registry: Registry) -> None:
        """Serve a registry."""
        self._registry = registry
        self._store = registry.store
        self._pages = Pages()

    def application(self) -> web.Application:
        """Return the application that a runner serves."""
        application = web.Application(client_max_size=MAX_BODY)
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except ApiError as error:
            return _json(encode(error.status()), error.code)
        except web.HTTPException:
            raise
        except Exception as error:  # a bug of ours must reach the client as a Status, and the log
            _log.exception("%s %s", request.method, request.path_qs)
            failure = ApiError(Reason.INTERNAL_ERROR, f"the API server failed: {error!r}")
            return _json(encode(failure.status()), failure.code)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path in _HEALTH:
            return web.Response(text="ok")
        if request.method == "GET" and (found := discovery.document(request.path)):
            return _json(encode(found))
        target = parse(request.path)
        _refuse_options(request.query)
        match request.method, bool(target.name):
            case "GET", True:
                return self._get(request, target)
            case "GET", False if request.query.get("watch") in _TRUE:
                return await self._watch(request, target)
            case "GET", False:
                return self._list(request, target)
            case "POST", False if target.namespace or target.kind.scope is Scope.CLUSTER:
                return _json(self._registry.create(target, await _body(request)).body, 201)
            case (("PUT" | "PATCH"), True):
                return await self._update(request, target)
            case "DELETE", True:
                return await self._delete(request, target)
            case "DELETE", False:
                return await self._delete_collection(request, target)
        message = f"{request.method} is not supported on {request.path}"
        raise ApiError(Reason.METHOD_NOT_ALLOWED, message)

    def _get(self, request: web.Request, target: Target) -> web.Response:
        form = _form(request)
        if request.query.get("watch") in _TRUE:
            raise not_served("a watch of one object by its path (use fieldSelector=metadata.name=)")
        record = self._store.get(target.kind, target.key)
        return _json(_render(target.kind, form, request.query)(record))

    def _list(self, request: web.Request, target: Target) -> web.Response:
        form, query = _form(request), request.query
        page = self._page(target, query)
        if form is Form.TABLE:
            include = query.get("includeObject", "Metadata")
            value = table(target.kind, page.records, page.version, include)
            value["metadata"] = _list_metadata(page)
            return _json(encode(value))
        return _json(_list_body(target.kind, page))

    def _page(self, target: Target, query: Mapping[str, str]) -> Page:
        limit = _number(query, "limit") or 0
        if token := query.get("continue"):
            return self._pages.next(token, limit)
        version = _number(query, "resourceVersion") or 0
        self._store.require_known(version)
        if query.get("resourceVersionMatch") == "Exact" and version != self._store.version:
            raise expired(f"resource version {version} is no longer kept whole: list the newest")
        selection = _selection(target, query)
        records = self._store.list(target.kind, target.namespace)
        if selection.filters:
            records = [record for record in records if selection.matches(record.value)]
        return self._pages.first(records, self._store.version, limit)

    async def _watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        query = request.query
        lines = watching.stream(self._store, self._watch_of(request, target))
        response = web.StreamResponse(headers={"Content-Type": JSON})
        async with contextlib.aclosing(lines):
            first = await anext(lines)
            await response.prepare(request)
            if first:
                await response.write(first)
            with contextlib.suppress(ConnectionError):
                async for data in lines:
                    await response.write(data)
        _log.debug("watch over: %s %s", request.path, dict(query))
        return response

    def _watch_of(self, request: web.Request, target: Target) -> watching.Watch:
        query = request.query
        initial = query.get("sendInitialEvents") in _TRUE
        version = None if initial else _number(query, "resourceVersion") or None
        bookmarks = watching.Bookmarks.NONE
        if query.get("allowWatchBookmarks") in _TRUE:
            bookmarks = watching.Bookmarks.ALLOWED
            if initial:
                bookmarks = watching.Bookmarks.INITIAL_EVENTS_END
        return watching.Watch(
            kind=target.kind,
            selection=_selection(target, query),
            version=version,
            bookmarks=bookmarks,
            seconds=_number(query, "timeoutSeconds") or random.uniform(1800, 3600),  # noqa: S311
            render=_render(target.kind, _form(request), query),
        )

    async def _update(self, request: web.Request, target: Target) -> web.Response:
        _form(request)
        part = Part(target.subresource)
        if request.method == "PUT":
            value = await _body(request)
            record = self._registry.update(target, lambda _: value, part)
        else:
            edit = await _patch(request, target)
            record = self._registry.update(target, edit, part)
        return _json(record.body)

    async def _delete(self, request: web.Request, target: Target) -> web.Response:
        if target.subresource:
            raise ApiError(Reason.METHOD_NOT_ALLOWED, "a status is not deleted")
        options = await _delete_options(request)
        record = self._registry.delete(target, options)
        if self._store.find(target.kind, target.key):
            return _json(record.body)
        return _json(encode(_deleted(target, record)))

    async def _delete_collection(self, request: web.Request, target: Target) -> web.Response:
        options = await _delete_options(request)
        selection = _selection(target, request.query)
        records = self._registry.delete_collection(target.kind, selection, options)
        return _json(_list_body(target.kind, Page(records, self._store.version)))


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type=JSON)


def _refuse_options(query: Mapping[str, str]) -> None:
    if query.get("dryRun"):
        raise not_served("dryRun")
    if query.get("fieldValidation") == "Strict":
        raise not_served("fieldValidation=Strict (kubectl: use --validate=false)")


def _form(request: web.Request) -> Form:
    """Choose the first form that the client accepts and this server has; protobuf it has not."""
    for accepted in request.headers.get("Accept", "*/*").split(","):
        media, *parameters = (part.strip() for part in accepted.split(";"))
        if media not in {JSON, "*/*", "application/*"}:
            continue
        options = dict(parameter.partition("=")[::2] for parameter in parameters)
        match options.get("as"), options.get("v"):
            case None, _:
                return Form.OBJECT
            case "Table", "v1":
                return Form.TABLE
    message = f"this server answers in {JSON} alone (as objects or as meta.k8s.io/v1 Tables)"
    raise ApiError(Reason.NOT_ACCEPTABLE, message)


def _render(kind: Kind, form: Form, query: Mapping[str, str]) -> watching.Render:
    match form:
        case Form.OBJECT:
            return _as_object
        case Form.TABLE:
            include = query.get("includeObject", "Metadata")
            return partial(_as_table, kind, include)


def _as_object(record: Record) -> bytes:
    return record.body


def _as_table(kind: Kind, include: str, record: Record) -> bytes:
    return encode(table(kind, [record], record.version, include))


def _list_body(kind: Kind, page: Page) -> bytes:
    """Encode a list from bytes that are encoded already: no object is looked at again."""
    head = encode({"kind": f"{kind.name}List", "apiVersion": kind.api_version})
    items = b",".join([record.body for record in page.records])
    metadata = encode(_list_metadata(page))
    return b'%s,"metadata":%s,"items":[%s]}' % (head[:-1], metadata, items)


def _list_metadata(page: Page) -> Object:
    metadata: Object = {"resourceVersion": str(page.version)}
    if page.token:
        metadata |= {"continue": page.token, "remainingItemCount": page.remaining}
    return metadata


def _deleted(target: Target, record: Record) -> Object:
    details = {
        "name": target.name,
        "group": target.kind.group,
        "kind": target.kind.plural,
        "uid": record.value["metadata"]["uid"],
    }
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }


def _selection(target: Target, query: Mapping[str, str]) -> Selection:
    return Selection(
        target.namespace,
        parse_labels(query.get("labelSelector", "")),
        parse_fields(query.get("fieldSelector", ""), target.kind),
    )


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    if not text.isdecimal():
        raise ApiError(Reason.BAD_REQUEST, f"{name} must be a number: {text!r}")
    return int(text)


async def _body(request: web.Request, media: str = JSON) -> Any:
    """Return the request's JSON, with every null member left out: to Kubernetes it is absent."""
    if request.content_type not in {media, "application/octet-stream"}:
        message = f"the body must be {media}, not {request.content_type}"
        raise ApiError(Reason.UNSUPPORTED_MEDIA_TYPE, message)
    data = await request.read()
    value = _decoded(data)
    return _without_nulls(value) if b"null" in data else value


def _decoded(data: bytes) -> Any:
    try:
        return decode(data)
    except msgspec.DecodeError as error:
        raise ApiError(Reason.BAD_REQUEST, f"the body is not JSON: {error}") from error


def _without_nulls(value: Any) -> Any:
    match value:
        case dict():
            return {k: _without_nulls(v) for k, v in value.items() if v is not None}
        case list():
            return [_without_nulls(item) for item in value]
    return value


_PATCHES: Mapping[str, Callable[[Any, Any], Any]] = {
    "application/merge-patch+json": patch.merge,
    "application/json-patch+json": patch.apply,
}


async def _patch(request: web.Request, target: Target) -> Callable[[Object], Object]:
    apply = _PATCHES.get(request.content_type)
    if apply is None:
        message = (
            f"the builtin control plane does not serve {request.content_type}; it serves "
            f"{' and '.join(_PATCHES)} (kubectl patch --type=merge or --type=json)"
        )
        raise ApiError(Reason.UNSUPPORTED_MEDIA_TYPE, message)
    wanted = _decoded(await request.read())

    def edit(value: Object) -> Object:
        try:
            changed: Object = _without_nulls(apply(value, wanted))
        except patch.PatchError as error:
            cause = Cause("patch", f"Invalid value: {error}")
            raise invalid(target.kind, target.name, [cause]) from error
        return changed

    return edit


async def _delete_options(request: web.Request) -> DeleteOptions:
    """Read a deletion's options, from the query and from the body."""
    options = (await _body(request) if request.can_read_body else None) or {}
    if options.get("dryRun"):
        raise not_served("dryRun")
    preconditions = options.get("preconditions", {})
    grace = _number(request.query, "gracePeriodSeconds")
    return DeleteOptions(
        grace=options.get("gracePeriodSeconds") if grace is None else grace,
        uid=preconditions.get("uid"),
        version=preconditions.get("resourceVersion"),
    )
