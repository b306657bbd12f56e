"""What is taken of kind's own CNI, and what stays: in a network namespace with rules like its."""

from __future__ import annotations

import subprocess

import pytest

from harness.clusters.kind.kindnet import REMOVE

pytestmark = pytest.mark.kernel

AS_KINDNET = """
nft add table inet kindnet-network-policies
nft 'add chain inet kindnet-network-policies forward { type filter hook forward priority 0; }'
nft add rule inet kindnet-network-policies forward drop
nft add table inet other
iptables -t nat -N KIND-MASQ-AGENT
iptables -t nat -A KIND-MASQ-AGENT -d 10.244.0.0/16 -j RETURN
iptables -t nat -A KIND-MASQ-AGENT -j MASQUERADE
iptables -t nat -A POSTROUTING -m addrtype ! --dst-type LOCAL \\
    -m comment --comment 'kind-masq-agent: ensure nat POSTROUTING' -j KIND-MASQ-AGENT
iptables -t nat -A POSTROUTING -s 10.244.1.0/24 ! -d 10.244.0.0/16 -j MASQUERADE
iptables -t nat -N KUBE-POSTROUTING
iptables -t nat -A KUBE-POSTROUTING -m mark --mark 0x4000 -j MASQUERADE
iptables -t nat -A POSTROUTING -m comment --comment 'kubernetes postrouting' -j KUBE-POSTROUTING
"""
LOOK = "nft list tables; iptables -t nat -S"


def test_its_judgement_and_masquerading_go_and_the_proxys_stay() -> None:
    """Each thing taken is named; a second time there is nothing to take."""
    parts = (AS_KINDNET, REMOVE, "echo ---", REMOVE, "echo ---", LOOK)

    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", "\n".join(parts)],
        capture_output=True,
        text=True,
        check=True,
    )

    gone, again, left = done.stdout.split("---\n")
    assert "inet kindnet-network-policies" in gone
    assert gone.count("iptables -D POSTROUTING") == 2
    assert again == ""
    assert "table inet other" in left
    assert "network-policies" not in left
    assert [line for line in left.splitlines() if line.startswith("-A POSTROUTING")] == [
        '-A POSTROUTING -m comment --comment "kubernetes postrouting" -j KUBE-POSTROUTING'
    ]
    assert "-A KUBE-POSTROUTING -m mark --mark 0x4000 -j MASQUERADE" in left
