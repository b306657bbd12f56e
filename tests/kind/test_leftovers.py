"""What kube-router left on the nodes goes by one `kubectl apply`, and is named."""

from __future__ import annotations

import pytest

from harness.images.recipes import ROOT
from tests.kind.deployed import SYSTEM, House

pytestmark = pytest.mark.kind

CLEANUP = ROOT / "enforcer" / "deploy" / "cleanup-kube-router"
LEAVE = """
set -e
ipset create KUBE-SRC-LEFT hash:ip
iptables-{kind} -N KUBE-POD-FW-LEFT
iptables-{kind} -A KUBE-POD-FW-LEFT -m set --match-set KUBE-SRC-LEFT src -j REJECT
iptables-{kind} -I FORWARD -d 10.244.9.9 -j KUBE-POD-FW-LEFT
"""
LOOK = "for k in legacy nft; do iptables-$k-save -t filter; done; ipset list -n"


def test_they_are_named_and_removed(house: House) -> None:
    """iptables-legacy on one node, iptables-nft on the other: both are found, kube-proxy's stay."""
    control_plane, worker = house.node_names()
    for node, kind in ((control_plane, "nft"), (worker, "legacy")):
        house.cluster.on_node(node, ["sh", "-c", LEAVE.format(kind=kind)])
    house.kubectl.run("apply", "-k", str(CLEANUP))
    try:
        house.kubectl.rollout(SYSTEM, "daemonset/npd-cleanup")
        label = "app.kubernetes.io/name=npd-cleanup"
        said = house.kubectl.run("-n", SYSTEM, "logs", "-l", label, "-c", "cleanup", "--tail=-1")
    finally:
        house.kubectl.run("delete", "-k", str(CLEANUP))

    for kind in ("nft", "legacy"):
        assert f"removed iptables-{kind}: chain KUBE-POD-FW-LEFT" in said
    assert said.count("removed ipset KUBE-SRC-LEFT") == 2
    for node in (control_plane, worker):
        left = house.cluster.on_node(node, ["sh", "-c", LOOK])
        assert "LEFT" not in left
        assert "KUBE-FORWARD" in left
