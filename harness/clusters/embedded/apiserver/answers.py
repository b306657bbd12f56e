"""From values to HTTP bodies. Objects are encoded when they are stored, and never again here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from aiohttp import web

from harness.clusters.embedded.apiserver.paging import Page
from harness.clusters.embedded.apiserver.printers import table
from harness.clusters.embedded.apiserver.reading import JSON, Form, Query
from harness.clusters.embedded.apiserver.resources import Kind, Object
from harness.clusters.embedded.apiserver.routes import Target
from harness.clusters.embedded.apiserver.store import Record, encode


def json(body: bytes, status: int = 200) -> web.Response:
    """Answer with JSON that is encoded already."""
    return web.Response(body=body, status=status, content_type=JSON)


def written(record: Record, request: web.Request, status: int = 200) -> web.Response:
    """Answer a write, with a warning (kubectl shows it) of what was asked for and not done."""
    headers: Mapping[str, str] = {}
    if request.query.get("fieldValidation") == "Strict" and request.content_type == JSON:
        text = "the builtin control plane does not look for unknown fields"
        headers = {"Warning": f'299 - "{text}"'}
    return web.Response(body=record.body, status=status, content_type=JSON, headers=headers)


def renderer(kind: Kind, form: Form, query: Query) -> Callable[[Record], bytes]:
    """Return what encodes one object in the form that the client wants."""
    match form:
        case Form.OBJECT:
            return _as_object
        case Form.TABLE:
            return partial(_as_table, kind, _include(query))


def listed(kind: Kind, page: Page, form: Form, query: Query) -> web.Response:
    """Answer with a list in the form that the client wants."""
    metadata: Object = {"resourceVersion": str(page.version)}
    if page.token:
        metadata |= {"continue": page.token, "remainingItemCount": page.remaining}
    match form:
        case Form.OBJECT:
            return json(_list(kind, page, metadata))
        case Form.TABLE:
            return json(encode(table(kind, page.records, metadata, _include(query))))


def deleted(target: Target, record: Record) -> web.Response:
    """Answer that an object is gone."""
    details = {
        "name": target.name,
        "group": target.kind.group,
        "kind": target.kind.plural,
        "uid": record.value["metadata"]["uid"],
    }
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return json(encode(status | {"details": details}))


def _list(kind: Kind, page: Page, metadata: Object) -> bytes:
    head = {"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": metadata}
    items = b",".join([record.body for record in page.records])
    return b'%s,"items":[%s]}' % (encode(head)[:-1], items)


def _as_object(record: Record) -> bytes:
    return record.body


def _as_table(kind: Kind, include: str, record: Record) -> bytes:
    metadata = {"resourceVersion": str(record.version)}
    return encode(table(kind, [record], metadata, include))


def _include(query: Query) -> str:
    return query.get("includeObject", "Metadata")
