"""What ``kubectl create namespace`` and its siblings send: Kubernetes' protobuf, of four kinds.

kubectl's generators speak protobuf alone, whatever the server prefers. A message is read by a table
of its fields; a field that is not in the table is refused by name, never dropped.
https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

from harness.clusters.embedded.apiserver.errors import ApiError, Reason
from harness.clusters.embedded.apiserver.resources import Kind, Object

MEDIA = "application/vnd.kubernetes.protobuf"

_MAGIC = b"k8s\x00"
_RAW = 2
"""The field of ``runtime.Unknown`` that holds the object."""


class Type(enum.Enum):
    """How a field's bytes are read, where it is not a message."""

    TEXT = enum.auto()
    NUMBER = enum.auto()
    MAP = enum.auto()
    PORT = enum.auto()
    IGNORED = enum.auto()
    """The server sets it, whatever the client says."""


Fields = Mapping[int, tuple[str, Any]]
"""By number: name, and type: a Type, a message's Fields, or a list of one message's Fields."""

_METADATA: Fields = {
    1: ("name", Type.TEXT),
    2: ("generateName", Type.TEXT),
    3: ("namespace", Type.TEXT),
    8: ("creationTimestamp", Type.IGNORED),
    11: ("labels", Type.MAP),
    12: ("annotations", Type.MAP),
    17: ("managedFields", Type.IGNORED),
}
_SERVICE_PORT: Fields = {
    1: ("name", Type.TEXT),
    2: ("protocol", Type.TEXT),
    3: ("port", Type.NUMBER),
    4: ("targetPort", Type.PORT),
    5: ("nodePort", Type.NUMBER),
}
_SERVICE_SPEC: Fields = {
    1: ("ports", [_SERVICE_PORT]),
    2: ("selector", Type.MAP),
    3: ("clusterIP", Type.TEXT),
    4: ("type", Type.TEXT),
    10: ("externalName", Type.TEXT),
}
_MESSAGES: Mapping[str, Fields] = {
    "Namespace": {1: ("metadata", _METADATA), 3: ("status", Type.IGNORED)},
    "ServiceAccount": {1: ("metadata", _METADATA)},
    "ConfigMap": {1: ("metadata", _METADATA), 2: ("data", Type.MAP)},
    "Service": {
        1: ("metadata", _METADATA),
        2: ("spec", _SERVICE_SPEC),
        3: ("status", Type.IGNORED),
    },
}


def decode(kind: Kind, data: bytes) -> Object:
    """Return the object in a request's body; 415 where it holds more than is read here."""
    fields = _MESSAGES.get(kind.name)
    if fields is None or not data.startswith(_MAGIC):
        raise _refused(f"{kind.name} as protobuf")
    try:
        raw = dict(_split(data[len(_MAGIC) :])).get(_RAW, b"")
        return _message(fields, raw, kind.name) if isinstance(raw, bytes) else {}
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        message = f"the body is not a {kind.name} in protobuf: {error}"
        raise ApiError(Reason.BAD_REQUEST, message) from error


def _message(fields: Fields, data: bytes, where: str) -> Object:
    """Return a message as JSON has it, without the empty texts and zeros of protobuf."""
    value: Object = {}
    for number, part in _split(data):
        if number not in fields:
            if part not in {b"", 0}:
                raise _refused(f"field {number} of {where} as protobuf")
            continue
        name, kind = fields[number]
        match kind:
            case Type.IGNORED:
                pass
            case Type.MAP:
                entry = dict(_split(part))
                value.setdefault(name, {})[entry.get(1, b"").decode()] = entry.get(2, b"").decode()
            case [message]:
                value.setdefault(name, []).append(_message(message, part, f"{where}.{name}"))
            case _:
                value[name] = _value(kind, part, f"{where}.{name}")
    return {name: found for name, found in value.items() if found or isinstance(found, dict)}


def _value(kind: Any, part: Any, where: str) -> Any:
    match kind:
        case Type.TEXT:
            return part.decode()
        case Type.NUMBER:
            return part
        case Type.PORT:
            either = dict(_split(part))
            return either.get(3, b"").decode() if either.get(1) else either.get(2, 0)
    return _message(kind, part, where)


def _split(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield a message's fields: numbers as int, all else as bytes."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        match tag & 7:
            case 0:
                number, position = _varint(data, position)
                yield tag >> 3, number
            case 2:
                size, position = _varint(data, position)
                if position + size > len(data):
                    raise IndexError("it ends too early")
                yield tag >> 3, data[position : position + size]
                position += size
            case wire:
                raise IndexError(f"wire type {wire}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if not byte & 0x80:
            return value, position


def _refused(what: str) -> ApiError:
    message = f"the builtin control plane does not serve {what}: send JSON (kubectl create -f FILE)"
    return ApiError(Reason.UNSUPPORTED_MEDIA_TYPE, message)
