"""Refusals: every way in which a request ends without what it asked for, as a ``metav1.Status``.

https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#response-status-kind
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from harness.clusters.embedded.apiserver.resources import Kind, Object


class Reason(enum.Enum):
    """Why, in the word that clients compare, and the HTTP status that goes with it."""

    BAD_REQUEST = ("BadRequest", 400)
    FORBIDDEN = ("Forbidden", 403)
    NOT_FOUND = ("NotFound", 404)
    METHOD_NOT_ALLOWED = ("MethodNotAllowed", 405)
    NOT_ACCEPTABLE = ("NotAcceptable", 406)
    ALREADY_EXISTS = ("AlreadyExists", 409)
    CONFLICT = ("Conflict", 409)
    EXPIRED = ("Expired", 410)
    UNSUPPORTED_MEDIA_TYPE = ("UnsupportedMediaType", 415)
    INVALID = ("Invalid", 422)
    UNKNOWN = ("", 500)
    """Kubernetes' own for errors that it does not sort."""
    INTERNAL_ERROR = ("InternalError", 500)
    NOT_IMPLEMENTED = ("NotImplemented", 501)
    TIMEOUT = ("Timeout", 504)


@dataclass(frozen=True, slots=True)
class Cause:
    """One mistake in an object: the field's path, what is wrong, and the kind of mistake."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"

    def __str__(self) -> str:
        """Return it as messages list it."""
        return f"{self.field}: {self.message}"


class ApiError(Exception):
    """A request that is refused; becomes a Status object and its HTTP status."""

    def __init__(self, reason: Reason, message: str, details: Object | None = None) -> None:
        """Say why, in a sentence for a person, with details for programs."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.details = details or {}

    @property
    def code(self) -> int:
        """The HTTP status."""
        return self.reason.value[1]

    def status(self) -> Object:
        """Return the Status object."""
        word, code = self.reason.value
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": code,
        }
        return status | ({"reason": word, "details": self.details} if word else {})


def about(reason: Reason, kind: Kind, name: str, what: str) -> ApiError:
    """Refuse because of one object: ``pods "web" not found``."""
    details = {"name": name, "group": kind.group, "kind": kind.plural}
    return ApiError(reason, f'{kind.resource} "{name}" {what}', details)


def not_found(kind: Kind, name: str) -> ApiError:
    """Refuse because there is no such object."""
    return about(Reason.NOT_FOUND, kind, name, "not found")


def conflict(kind: Kind, name: str, why: str) -> ApiError:
    """Refuse because the object is no longer what the client read."""
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    details = {"name": name, "group": kind.group, "kind": kind.plural}
    return ApiError(Reason.CONFLICT, message, details)


def invalid(kind: Kind, name: str, causes: Sequence[Cause]) -> ApiError:
    """Refuse because of the object's content: every mistake in one answer."""
    listed = ", ".join(map(str, causes))
    text = listed if len(causes) == 1 else f"[{listed}]"
    details = {
        "name": name,
        "group": kind.group,
        "kind": kind.name,
        "causes": [
            {"reason": cause.reason, "message": cause.message, "field": cause.field}
            for cause in causes
        ],
    }
    return ApiError(Reason.INVALID, f'{kind.name} "{name}" is invalid: {text}', details)


def not_served(what: str) -> ApiError:
    """Refuse by name what a real control plane has and this one has not."""
    return ApiError(
        Reason.NOT_IMPLEMENTED, f"the builtin control plane of this cluster does not serve {what}"
    )


def expired(message: str) -> ApiError:
    """Refuse because the history asked for is no longer kept: list again."""
    return ApiError(Reason.EXPIRED, message)
