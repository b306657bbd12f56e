"""A node with pods on two bridges: both show their packets, and what goes between is routed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernel.netlab import OUTSIDE, Lab, Pod, Verdict, Wire, echoes
from tests.kernel.policies import compiled, egress, ingress, peers

pytestmark = pytest.mark.kernel

ADDRESSES = pytest.mark.parametrize("address", ["ip4", "ip6"])
GATEWAYS = ("10.2.0.254", "fd00:2::fe")


@pytest.fixture(params=[Wire.BRIDGED, Wire.TURNED], ids=lambda wire: wire.value)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Return a node with pods 1 and 2 on one bridge, 3 and 4 on another."""
    with Lab(request.param, pods=4) as built:
        near, far = built.pods[:2], built.pods[2:]
        built.node.run("ip", "-batch", "-", text="".join(f"{it}\n" for it in _second_bridge(far)))
        for pods, others in ((near, far), (far, near)):
            for pod in pods:
                built.spaces[pod.name].run("ip", "-batch", "-", text=_routes(others))
        for pod in built.pods:
            built.serve(pod.name, 80)
        yield built


def _second_bridge(pods: list[Pod]) -> Iterator[str]:
    yield "link add br1 address fe:00:00:00:00:01 type bridge"
    yield "link set br1 up"
    for pod in pods:
        yield f"link set veth{pod.number} master br1"
        for address in (pod.ip4, pod.ip6):
            yield f"neigh del {address} dev br0"
            yield f"neigh replace {address} lladdr {pod.mac} dev br1 nud permanent"
    for gateway in GATEWAYS:
        yield f"addr add {gateway} dev br1" + (" nodad" if ":" in gateway else "")
    for pod in pods:
        yield f"route add {pod.ip4} dev br1"
        yield f"route add {pod.ip6} dev br1"


def _routes(pods: list[Pod]) -> str:
    four, six = GATEWAYS
    ways = ((it, via) for pod in pods for it, via in ((pod.ip4, four), (pod.ip6, six)))
    return "".join(f"route add {address} via {gateway}\n" for address, gateway in ways)


@ADDRESSES
def test_pods_are_judged_on_and_between_bridges(lab: Lab, address: str) -> None:
    """Same bridge or not: who is allowed reaches a pod, and who is not does not."""
    one, two, three, four = lab.pods
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one, three))], 4: [ingress(peers(one), "4")]}))

    for pod, target, expected in (
        (one, two, Verdict.OPEN),
        (three, two, Verdict.OPEN),
        (four, two, Verdict.DROPPED),
        (one, four, Verdict.OPEN),
        (two, four, Verdict.DROPPED),
        (three, four, Verdict.DROPPED),
    ):
        assert lab.probe(pod.name, getattr(target, address), 80) is expected, (pod, target)
    assert lab.probe(OUTSIDE, getattr(three, address), 80) is Verdict.OPEN
    assert lab.probe(OUTSIDE, getattr(four, address), 80) is Verdict.DROPPED


@ADDRESSES
def test_a_tightening_cuts_on_and_between_bridges(lab: Lab, address: str) -> None:
    """A client's egress is taken back towards both bridges, and nobody else's."""
    one, two, three, _ = lab.pods
    lab.sync(compiled(lab.pods))
    targets = [getattr(pod, address) for pod in (two, three)]
    cut = [lab.connect("p1", target, 80) for target in targets]
    kept = [lab.connect("p4", target, 80) for target in targets]

    lab.sync(compiled(lab.pods, {one.number: [egress(peers("10.9.9.9"))]}))

    assert [echoes(sock) for sock in cut] == [False, False]
    assert [echoes(sock) for sock in kept] == [True, True]
    for sock in (*cut, *kept):
        sock.close()
