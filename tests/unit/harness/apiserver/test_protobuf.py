"""Kubernetes' protobuf is read for what kubectl's generators create, and refused beyond that."""

from __future__ import annotations

import pytest

from harness.clusters.embedded.apiserver import protobuf
from harness.clusters.embedded.apiserver.errors import ApiError, Reason
from harness.clusters.embedded.apiserver.resources import NAMESPACES, PODS, SERVICES, Kind


def field(number: int, content: bytes | int) -> bytes:
    """Return one field of a message; numbers below 128 only."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    return bytes([number << 3 | 2, len(content)]) + content


def envelope(raw: bytes) -> bytes:
    """Return a body as client-go sends it: magic, type, object."""
    return b"k8s\x00" + field(1, field(1, b"v1") + field(2, b"Thing")) + field(2, raw)


def test_a_namespace_is_read() -> None:
    """Name and labels; the empty fields that protobuf always writes are none."""
    label = field(1, b"app") + field(2, b"nsb")
    metadata = field(1, b"nsb") + field(2, b"") + field(4, b"") + field(7, 0) + field(8, b"")
    raw = field(1, metadata + field(11, label)) + field(2, b"") + field(3, field(1, b""))

    assert protobuf.decode(NAMESPACES, envelope(raw)) == {
        "metadata": {"name": "nsb", "labels": {"app": "nsb"}}
    }


def test_the_ports_of_a_service_are_read() -> None:
    """Target ports are numbers or names."""
    number = field(1, 0) + field(2, 80) + field(3, b"")
    name = field(1, 1) + field(2, 0) + field(3, b"web")
    ports = [field(2, b"TCP") + field(3, 80) + field(4, target) for target in (number, name)]
    raw = field(1, field(1, b"s")) + field(2, field(1, ports[0]) + field(1, ports[1]))

    assert protobuf.decode(SERVICES, envelope(raw))["spec"]["ports"] == [
        {"protocol": "TCP", "port": 80, "targetPort": 80},
        {"protocol": "TCP", "port": 80, "targetPort": "web"},
    ]


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (PODS, field(1, field(1, b"a"))),
        (NAMESPACES, field(1, field(1, b"a") + field(14, b"a/finalizer"))),
        (SERVICES, field(2, field(5, b"192.0.2.1"))),
    ],
)
def test_what_is_not_read_is_refused(kind: Kind, raw: bytes) -> None:
    """A kind or a field without a table is never dropped in silence."""
    with pytest.raises(ApiError) as refused:
        protobuf.decode(kind, envelope(raw))

    assert refused.value.reason is Reason.UNSUPPORTED_MEDIA_TYPE


@pytest.mark.parametrize("raw", [b"\x0a", b"\x0a\x05ab", b"\x80", b"\x0d\x00\x00\x00\x00"])
def test_a_broken_message_is_a_bad_request(raw: bytes) -> None:
    """Cut short, or of a wire type that Kubernetes does not use here."""
    with pytest.raises(ApiError) as refused:
        protobuf.decode(NAMESPACES, envelope(raw))

    assert refused.value.reason is Reason.BAD_REQUEST
