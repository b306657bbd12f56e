"""Who is on the short cut, as read from the node's links: needs no flowtables."""

from __future__ import annotations

import pytest

from enforcer import fastpath
from enforcer.links import NodeLinks
from enforcer.wiring import FastPath, SameNode
from tests.kernel.netlab import Lab, Wire
from tests.kernel.policies import compiled

pytestmark = pytest.mark.kernel


def test_a_new_mtu_makes_connections_join_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """All leave for one look, which asks for the next one; then the interfaces are back."""
    monkeypatch.setattr(fastpath, "is_supported", lambda: True)
    with Lab(Wire.ROUTED) as lab:
        lab.links.close()
        lab.links = lab.node.call(NodeLinks, SameNode.AUTO, (), FastPath.ON)
        policy = compiled(lab.pods)
        everyone = {"veth1", "veth2", "veth3", "up0"}
        assert lab.wiring(policy).fast == everyone
        assert lab.wiring(policy).fast == everyone

        lab.node.run("ip", "link", "set", "up0", "mtu", "1300")

        assert lab.links.changed()
        assert lab.wiring(policy).fast == frozenset()
        assert lab.links.changed()
        assert lab.wiring(policy).fast == everyone
        assert not lab.links.changed()
        lab.links.close()
