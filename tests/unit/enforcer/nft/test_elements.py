"""Elements as we write them and as nft gives them back."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any

import pytest

from enforcer.errors import DecodeError
from enforcer.nft.elements import decode
from enforcer.nft.objects import FieldType

V4, V6, PROTOCOL, PORT = (
    FieldType.IPV4,
    FieldType.IPV6,
    FieldType.PROTOCOL,
    FieldType.PORT,
)


@pytest.mark.parametrize(
    ("listed", "fields", "text"),
    [
        ("10.0.0.1", (V4,), "10.0.0.1"),
        ("::ffff:1.2.3.4", (V6,), str(IPv6Address("::ffff:102:304"))),  # 3.13 writes it otherwise
        ({"prefix": {"addr": "10.0.0.0", "len": 9}}, (V4,), "10.0.0.0/9"),
        ({"range": ["10.0.0.1", "10.0.0.3"]}, (V4,), "10.0.0.1-10.0.0.3"),
        ({"concat": ["10.0.0.1", "tcp", 80]}, (V4, PROTOCOL, PORT), "10.0.0.1 . 6 . 80"),
        ({"concat": ["10.0.0.1", 6, 80]}, (V4, PROTOCOL, PORT), "10.0.0.1 . 6 . 80"),
        (
            {"concat": [{"prefix": {"addr": "0.0.0.0", "len": 0}}, "udp", {"range": [1, 9]}]},
            (V4, PROTOCOL, PORT),
            "0.0.0.0/0 . 17 . 1-9",
        ),
        ({"concat": ["veth1", "fd00::0"]}, (FieldType.INTERFACE, V6), '"veth1" . fd00::'),
        ({"elem": {"val": "10.0.0.1", "timeout": 5}}, (V4,), "10.0.0.1"),
        (4789, (PORT,), "4789"),
    ],
)
def test_an_element_has_one_text(listed: Any, fields: tuple[FieldType, ...], text: str) -> None:
    """Whatever form nft prints an element in, it is compared in one."""
    assert decode(listed, fields) == text


@pytest.mark.parametrize("listed", [{"concat": ["10.0.0.1"]}, {"map": {}}])
def test_a_strange_element_is_an_error(listed: Any) -> None:
    """A form that no set of ours has is never guessed."""
    with pytest.raises(DecodeError):
        decode(listed, (V4, PORT))
