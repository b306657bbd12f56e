"""From HTTP requests to values: bodies, patches, queries, and the form of the answer."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from harness.clusters.embedded.apiserver import patch, protobuf, shapes
from harness.clusters.embedded.apiserver.errors import (
    ApiError,
    Cause,
    Reason,
    invalid,
    not_served,
)
from harness.clusters.embedded.apiserver.registry import DeleteOptions, Edit
from harness.clusters.embedded.apiserver.resources import Object
from harness.clusters.embedded.apiserver.routes import Target
from harness.clusters.embedded.apiserver.selectors import Selection, parse_fields, parse_labels
from harness.clusters.embedded.apiserver.store import decode
from harness.clusters.embedded.apiserver.validation import refuse_unknown_fields

JSON = "application/json"
Query = Mapping[str, str]

_STRATEGIC = "application/strategic-merge-patch+json"
_PATCHES: Mapping[str, Callable[[Any, Any], Any]] = {
    "application/merge-patch+json": patch.merge,
    "application/json-patch+json": patch.apply,
    _STRATEGIC: patch.merge,
}


class Form(enum.Enum):
    """How the client wants objects: as they are, or as rows of a table."""

    OBJECT = "object"
    TABLE = "table"


def form(request: web.Request) -> Form:
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


def selection(target: Target, query: Query) -> Selection:
    """Return what a list, a watch or a deletion of many selects."""
    return Selection(
        target.namespace,
        parse_labels(query.get("labelSelector", "")),
        parse_fields(query.get("fieldSelector", ""), target.kind),
    )


def flag(query: Query, name: str) -> bool:
    """Return a boolean option; absent is no."""
    return query.get(name) in {"1", "true", "True"}


def number(query: Query, name: str) -> int:
    """Return a numeric option; absent is 0, which means the same for every option here."""
    text = query.get(name) or "0"
    if not text.isdecimal():
        raise ApiError(Reason.BAD_REQUEST, f"{name} must be a number: {text!r}")
    return int(text)


def refuse_unserved_options(query: Query) -> None:
    """Refuse an option that would make a write something else than a write."""
    if query.get("dryRun"):
        raise not_served("dryRun")


async def body(request: web.Request) -> Any:
    """Return the request's JSON, without null members: to Kubernetes those are absent."""
    if request.content_type not in {JSON, "application/octet-stream"}:
        message = f"the body must be {JSON}, not {request.content_type}"
        raise ApiError(Reason.UNSUPPORTED_MEDIA_TYPE, message)
    data = await request.read()
    value = _decoded(data)
    return _without_nulls(value) if b"null" in data else value


async def new_object(request: web.Request, target: Target) -> Any:
    """Return the object to be created: JSON, or what kubectl's generators send."""
    if request.content_type == protobuf.MEDIA:
        return protobuf.decode(target.kind, await request.read())
    value = await body(request)
    if request.query.get("fieldValidation") == "Strict":
        refuse_unknown_fields(target.kind, value)
    return value


async def edit(request: web.Request, target: Target) -> Edit:
    """Return what a patch does to an object."""
    media = request.content_type
    apply = _PATCHES.get(media)
    if apply is None:
        raise _unserved_patch(media)
    data = await request.read()
    wanted = _decoded(data)
    if media == _STRATEGIC and not patch.is_plain(wanted, target.kind.lists):
        raise _unserved_patch(f"{media} with lists or directives")

    def patched(value: Object) -> Object:
        try:
            changed: Object = apply(value, wanted)
        except patch.PatchError as error:
            cause = Cause("patch", f"Invalid value: {error}")
            raise invalid(target.kind, target.name, [cause]) from error
        return _without_nulls(changed) if b"null" in data else changed

    return patched


async def delete_options(request: web.Request) -> DeleteOptions:
    """Return a deletion's options, from the query and from the body."""
    given = await body(request) if request.can_read_body else {}
    try:
        options = msgspec.convert(given, shapes.DeleteOptions)
    except msgspec.ValidationError as error:
        raise ApiError(Reason.BAD_REQUEST, f"DeleteOptions cannot be handled: {error}") from error
    if options.dry_run:
        raise not_served("dryRun")
    grace = options.grace_period_seconds
    if "gracePeriodSeconds" in request.query:
        grace = number(request.query, "gracePeriodSeconds")
    required = options.preconditions
    return DeleteOptions(grace, required.uid, required.resource_version)


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


def _unserved_patch(what: str) -> ApiError:
    message = (
        f"the builtin control plane does not serve {what}: use application/merge-patch+json or "
        "application/json-patch+json (kubectl patch --type=merge or --type=json)"
    )
    return ApiError(Reason.UNSUPPORTED_MEDIA_TYPE, message)
