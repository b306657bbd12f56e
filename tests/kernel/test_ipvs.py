"""Services by IPVS: a connection enters by INPUT and leaves by OUTPUT, and is judged there."""

from __future__ import annotations

import pytest

from tests.kernel import ipvs
from tests.kernel.netlab import OUTSIDE, Lab, Verdict, echoes
from tests.kernel.policies import TCP, compiled, egress, ingress, peer_ports, peers

pytestmark = [pytest.mark.kernel, pytest.mark.optional("@ipvs")]

SERVICE = "10.96.0.1"


@pytest.fixture(autouse=True)
def _service(lab: Lab) -> None:
    ipvs.serve(lab.node, (SERVICE, 8080), (lab.pods[1].ip4, 80))


def test_a_service_is_judged_by_its_backend(lab: Lab) -> None:
    """Who may reach the pod and port behind the Service reaches it, and nobody else."""
    one = lab.pods[0]
    lab.sync(compiled(lab.pods, {2: [ingress(peer_ports([one, "14.215.0.10"], (TCP, 80)))]}))

    assert lab.probe("p1", SERVICE, 8080) is Verdict.OPEN
    assert lab.probe("p3", SERVICE, 8080) is Verdict.DROPPED
    assert lab.probe(OUTSIDE, SERVICE, 8080, source="14.215.0.10") is Verdict.OPEN
    assert lab.probe(OUTSIDE, SERVICE, 8080, source="14.216.0.10") is Verdict.DROPPED


def test_the_clients_egress_names_the_backend(lab: Lab) -> None:
    """An egress policy that allows the backend's pod and port allows the Service."""
    _, two, three = lab.pods
    allowed, other = egress(peer_ports([two], (TCP, 80))), egress(peers(three), "other")
    lab.sync(compiled(lab.pods, {1: [allowed], 3: [other]}))

    assert lab.probe("p1", SERVICE, 8080) is Verdict.OPEN
    assert lab.probe("p3", SERVICE, 8080) is Verdict.DROPPED


def test_a_connection_is_cut_by_a_tightening(lab: Lab) -> None:
    """Revocation looks behind the Service; what is still allowed goes on."""
    one, _, three = lab.pods
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one, three))]}))
    with lab.connect("p1", SERVICE, 8080) as cut, lab.connect("p3", SERVICE, 8080) as kept:
        lab.sync(compiled(lab.pods, {2: [ingress(peers(three))]}))

        assert not echoes(cut)
        assert echoes(kept)
