"""Lines of a watch -> watch events.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import msgspec

from enforcer.errors import DecodeError
from enforcer.kube.decode import decode_object
from enforcer.kube.policies import MALFORMED
from enforcer.model.changes import Change, Kind, Put, Removed, Unreadable, key_of
from enforcer.model.objects import Policy


class _Type(enum.Enum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"
    ERROR = "ERROR"


class _Event(msgspec.Struct):
    type: _Type
    object: msgspec.Raw


class _Versioned(msgspec.Struct):
    resourceVersion: str = ""  # noqa: N815  # the API's name


class _Metadata(msgspec.Struct):
    metadata: _Versioned


class _Status(msgspec.Struct):
    code: int = 0
    message: str = ""


_event = msgspec.json.Decoder(_Event)
_metadata = msgspec.json.Decoder(_Metadata)
_status = msgspec.json.Decoder(_Status)


@dataclass(frozen=True, slots=True)
class Progress:
    """The watch has got to ``version``; ``change`` is None for a bookmark."""

    version: str
    change: Change | None


@dataclass(frozen=True, slots=True)
class WatchError:
    """The server ends the watch; ``code`` is an HTTP status, 410 for a version that is gone."""

    code: int
    message: str


def decode_event(kind: Kind, line: bytes) -> Progress | WatchError:
    """Decode one line of a watch; DecodeError if not even its type or version can be read.

    Also where it is about a policy of nobody knows which namespace. Such a line hides which object
    has changed: only a new list can tell.
    """
    try:
        event = _event.decode(line)
        if event.type is _Type.ERROR:
            status = _status.decode(event.object)
            return WatchError(status.code, status.message)
        version = _metadata.decode(event.object).metadata.resourceVersion
    except MALFORMED as error:
        raise DecodeError(f"an event of {kind.value} cannot be read: {error}") from error
    if event.type is _Type.BOOKMARK:
        return Progress(version, None)
    return Progress(version, _change(kind, event))


def _change(kind: Kind, event: _Event) -> Change:
    item = decode_object(kind, event.object)
    if isinstance(item, Policy) and not item.is_placed:
        raise DecodeError(f"an event of {kind.value} tells of {item.key}: {item.problem}")
    if event.type is not _Type.DELETED:
        return Put(item)
    return Removed(kind, item.key if isinstance(item, Unreadable) else key_of(item))
