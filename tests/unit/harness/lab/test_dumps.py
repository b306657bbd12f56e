from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.lab import dumps
from harness.lab.guest.network import POD_A

RULES = """*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -m comment --comment "kube-router netpol" -j KUBE-ROUTER-FORWARD
-A KUBE-ROUTER-FORWARD -d 10.4.0.1/32 -m comment --comment "to pod a" -j KUBE-POD-FW-AAA
-A KUBE-ROUTER-FORWARD -s 10.4.0.1/32 -m comment --comment "from pod a" -j KUBE-POD-FW-AAA
-A KUBE-ROUTER-FORWARD -d 10.4.0.11/32 -m comment --comment "to pod b" -j KUBE-POD-FW-BBB
-A KUBE-ROUTER-FORWARD -d 10.4.0.111/32 -m comment --comment "to pod c" -j KUBE-POD-FW-CCC
-A KUBE-ROUTER-FORWARD -d 10.2.0.10/32 -j ACCEPT
COMMIT
"""
SETS = "create KUBE-DST-X hash:ip family inet timeout 0\nadd KUBE-DST-X 10.4.0.11 timeout 0\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Return a dump of a node with three pods, one of which has the lab's own address's place."""
    for name, text in (("rules", RULES), ("sets", SETS)):
        (tmp_path / name).write_text(text)
    return tmp_path / "rules", tmp_path / "sets"


def test_a_pod_in_the_middle_is_the_measured_one(files: tuple[Path, Path]) -> None:
    """Of kube-router's pods the middle one takes part, in rules and sets; the rest stays."""
    dump = dumps.read(*files)

    assert dump.pod == "10.4.0.11"
    assert f'-d {POD_A}/32 -m comment --comment "to pod b"' in dump.rules()
    assert f"add KUBE-DST-X {POD_A} timeout 0" in dump.sets()
    for untouched in ("10.4.0.1/32", "10.4.0.111/32"):
        assert dump.rules().count(untouched) == RULES.count(untouched)
    assert "-d 10.4.0.11/32 -j ACCEPT" in dump.rules()  # whose address the measured pod has taken


def test_a_named_pod_is_the_measured_one(files: tuple[Path, Path]) -> None:
    """Rules in nobody's known manner need a name, too."""
    assert (
        f'-d {POD_A}/32 -m comment --comment "to pod c"' in dumps.read(*files, "10.4.0.111").rules()
    )


LISTING = """table ip kube-router {
    chain forward {
        ip daddr 10.4.0.1 counter packets 0 bytes 0 jump KUBE-POD-FW-AAA
        ip daddr 10.4.0.11 comment "to pod b" goto KUBE-POD-FW-BBB
        ip daddr 10.4.0.111 jump KUBE-POD-FW-CCC
    }
}
"""


def test_a_listing_of_nft_is_told_from_rules_of_iptables(files: tuple[Path, Path]) -> None:
    """It has tables; its pod in the middle is the measured one, too."""
    files[0].write_text(LISTING)

    assert dumps.is_nft(LISTING)
    assert not dumps.is_nft(RULES)
    assert f'ip daddr {POD_A} comment "to pod b"' in dumps.read(files[0], None).rules()


@pytest.mark.parametrize(
    ("text", "pod", "said"),
    [
        (RULES, "10.4.0.2", "has no rule about 10.4.0.2"),
        ("*filter\nCOMMIT\n", "", "name one whose rules are meant: --pod"),
    ],
)
def test_rules_about_nobody_are_refused(
    files: tuple[Path, Path], text: str, pod: str, said: str
) -> None:
    """They would be measured on nobody's way, and cost next to nothing."""
    files[0].write_text(text)

    with pytest.raises(UsageError, match=said):
        dumps.read(*files, pod)
