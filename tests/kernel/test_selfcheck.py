"""Whether packets between two ports of a bridge meet our hook is proved, not assumed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from enforcer.selfcheck import prove
from tests.kernel.netlab import NODE, Lab, Verdict, Wire
from tests.kernel.policies import compiled, ingress

pytestmark = pytest.mark.kernel


@pytest.fixture
def bridged() -> Iterator[Lab]:
    """Return a bridged node whose pods serve on port 80."""
    with Lab(Wire.BRIDGED) as built:
        for pod in built.pods:
            built.serve(pod.name, 80)
        yield built


def test_a_bridge_that_hides_its_packets_is_found_out(bridged: Lab) -> None:
    """Without the bridge's flags no packet meets the hook, in neither family."""
    problem = bridged.node.call(prove, "br0", 1500)

    assert "IPv4, IPv6" in problem


def test_a_bridge_that_shows_one_family_is_found_out(bridged: Lab) -> None:
    """Each family has its flag and is proved by itself."""
    bridged.node.run("ip", "link", "set", "br0", "type", "bridge", "nf_call_iptables", "1")

    problem = bridged.node.call(prove, "br0", 1500)

    assert "(IPv6)" in problem


def test_a_bridge_that_shows_its_packets_is_proved(bridged: Lab) -> None:
    """With both flags the proof succeeds, with our tables loaded too, and leaves nothing behind."""
    flags = ("nf_call_iptables", "1", "nf_call_ip6tables", "1")
    bridged.node.run("ip", "link", "set", "br0", "type", "bridge", *flags)
    before = bridged.node.run("ip", "-br", "link")

    assert bridged.node.call(prove, "br0", 1500) == ""
    bridged.sync(compiled(bridged.pods, {2: [ingress()]}))
    assert bridged.node.call(prove, "br0", 1500) == ""

    assert bridged.node.run("ip", "-br", "link") == before
    assert "selfcheck" not in bridged.node.run("nft", "list", "tables")
    assert bridged.probe("p1", bridged.pods[2].ip4, 80) is Verdict.OPEN
    assert bridged.probe("p1", bridged.pods[1].ip4, 80) is Verdict.DROPPED
    assert bridged.probe(NODE, bridged.pods[1].ip4, 80) is Verdict.OPEN


def test_no_proof_is_a_sentence(bridged: Lab) -> None:
    """A bridge that does not exist is a problem with its name, not a traceback."""
    assert "br9" in bridged.node.call(prove, "br9", 1500)
