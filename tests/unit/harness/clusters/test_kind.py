"""Kind clusters as values: what is laid on the nodes, who a process belongs to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness import cli
from harness.clusters.base import NodeInfo
from harness.clusters.kind import outside, preflight, tools
from harness.clusters.kind.config import IpFamily, KindConfig, KindShape, KubeProxyMode
from harness.clusters.kind.network import FILE, PodWiring, commands, conflist
from harness.clusters.kind.preflight import Machine, complaints
from harness.clusters.kind.tools import Wish
from harness.clusters.kube.sandboxes import link_all, pod_of
from harness.errors import MissingError

UID = "0b3e1f6a-2c55-4a6e-9d3c-0123456789ab"
ONE = NodeInfo("one", "172.18.0.2", ("10.244.0.0/24",), ("172.18.0.2", "fc00::2"))
TWO = NodeInfo("two", "172.18.0.3", ("10.244.1.0/24", "fd00:1::/64"), ("172.18.0.3", "fc00::3"))


def test_kinds_own_cni_is_left_out() -> None:
    """Kindnet enforces NetworkPolicy itself: only who asks for it has it."""
    assert KindConfig(own_cni=True).document()["networking"]["disableDefaultCNI"] is False
    made = KindConfig(2, KubeProxyMode.NFTABLES, IpFamily.DUAL).document()

    assert made["networking"] == {
        "disableDefaultCNI": True,
        "kubeProxyMode": "nftables",
        "ipFamily": "dual",
    }
    assert [node["role"] for node in made["nodes"]] == ["control-plane", "worker", "worker"]


@pytest.mark.parametrize("wiring", PodWiring)
def test_every_range_of_a_node_is_given_to_its_pods(wiring: PodWiring) -> None:
    """A dual-stack node's pods get an address and a default route of each family."""
    ipam = conflist(TWO, wiring)["plugins"][0]["ipam"]

    assert ipam["ranges"] == [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:1::/64"}]]
    assert ipam["routes"] == [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]


def test_routes_lead_to_the_other_nodes() -> None:
    """Each range of another node has a route by its address of that family; one's own has none."""
    routes = commands(ONE, (ONE, TWO), PodWiring.ROUTED).splitlines()

    assert routes[1:3] == [
        "ip route replace 10.244.1.0/24 via 172.18.0.3",
        "ip route replace fd00:1::/64 via fc00::3",
    ]


@pytest.mark.parametrize("seen", [False, True])
def test_frames_that_nobody_sees_need_a_way_back(seen: bool) -> None:  # a case
    """Where netfilter sees no frames, replies to a Service's client on the bridge are led back."""
    script = commands(TWO, (ONE, TWO), PodWiring.BRIDGED, bridge_netfilter=seen)

    assert f"bridge-nf-call-iptables={int(seen)}" in script
    rule = "ip6tables -w -t nat -A POSTROUTING -s fd00:1::/64 -d fd00:1::/64 -m conntrack"
    assert (rule in script) is not seen
    assert "bridge-nf" not in commands(TWO, (ONE, TWO), PodWiring.ROUTED)


def test_the_host_outside_owns_the_study_s_clients_and_reaches_every_pod() -> None:
    """It has the public networks of its families, and a way to each node's pods."""
    lines = outside.script(["172.18.0.9"], (ONE, TWO)).splitlines()

    assert "ip route replace local 14.215.0.0/16 dev lo" in lines
    assert "ip route replace 10.244.1.0/24 via 172.18.0.3" in lines
    assert "ip route replace fd00:1::/64 via fc00::3" in lines
    assert not any("2001:db8" in line for line in lines)


def test_clusters_of_other_settings_are_told_apart() -> None:
    """A kept cluster is taken again by a run with its own settings alone."""
    marks = {KindConfig(workers, proxy).mark() for workers in (1, 2) for proxy in KubeProxyMode}

    assert len(marks) == 6


SYSCTLS = {
    "fs/inotify/max_user_instances": "128",
    "fs/inotify/max_user_watches": "8192",
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/bridge/bridge-nf-call-iptables": "1",
}
"""A plain machine's, with br_netfilter."""


def machine(
    folder: Path, changes: Mapping[str, str | None] | None = None, kernel: str = "6.1.0-23-amd64"
) -> Machine:
    """Return a machine whose sysctls are a plain one's, but for ``changes`` (None: it has none)."""
    for name, value in {**SYSCTLS, **(changes or {})}.items():
        if value is not None:
            path = folder / "sys" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n")
    return Machine(folder, kernel)


@pytest.mark.parametrize(
    ("shape", "changes", "said"),
    [
        (KindShape(), {}, ""),
        (KindShape(KindConfig(1)), {"fs/inotify/max_user_instances": "64"}, "instances=128"),
        (KindShape(KindConfig(2)), {"fs/inotify/max_user_watches": "524288"}, "instances=512"),
        (
            KindShape(wiring=PodWiring.BRIDGED),
            {"net/bridge/bridge-nf-call-iptables": None},
            "run: modprobe br_netfilter",
        ),
        (
            KindShape(KindConfig(family=IpFamily.DUAL)),
            {"net/ipv6/conf/all/disable_ipv6": "1"},
            "run: sysctl -w net.ipv6.conf.all.disable_ipv6=0",
        ),
        (
            KindShape(KindConfig(family=IpFamily.IPV6)),
            {"net/ipv6/conf/all/disable_ipv6": None},
            "boot without ipv6.disable=1",
        ),
        (KindShape(KindConfig(proxy=KubeProxyMode.IPVS)), {}, "run: modprobe ip_vs"),
    ],
)
def test_what_the_kernel_lacks_is_said_with_what_mends_it(
    shape: KindShape, changes: dict[str, str | None], said: str, tmp_path: Path
) -> None:
    """Limits, modules and families are looked at as far as the cluster needs them, and no more."""
    found = list(complaints(shape, machine(tmp_path, changes)))

    assert len(found) == bool(said)
    assert all(said in one for one in found)


def test_an_old_kernel_has_no_nftables_proxy(tmp_path: Path) -> None:
    """kube-proxy's nftables mode needs 5.13; the iptables one is offered."""
    shape = KindShape(KindConfig(proxy=KubeProxyMode.NFTABLES))

    (said,) = complaints(shape, machine(tmp_path, kernel="5.10.0-30-amd64"))

    assert said.endswith("take --proxy kube-proxy-iptables")


def test_a_full_disk_is_said_before_etcd_meets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each node may write a GiB to where docker keeps its containers."""
    monkeypatch.setattr(preflight, "NODE_BYTES", 1 << 60)
    whole = dataclasses.replace(machine(tmp_path), store=tmp_path)

    (said,) = complaints(KindShape(), whole)

    assert "too few for 2 nodes; run: docker system prune" in said


def test_programs_are_where_options_say() -> None:
    """A path that was given is not replaced by what happens to be on PATH."""
    wish = Wish(kind="/nowhere/kind", kubectl="/nowhere/kubectl")

    with pytest.raises(MissingError) as raised:
        tools.find_tools(wish)

    assert "--kind /nowhere/kind: there is no such program" in str(raised.value)
    assert "--kubectl /nowhere/kubectl: there is no such program" in str(raised.value)


@pytest.mark.parametrize(
    ("options", "images"), [((), ()), (("--load-image", "locust:1"), ("locust:1",))]
)
def test_what_makes_load_is_brought_to_the_nodes(
    options: tuple[str, ...], images: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that is made anew has no image of itself: docker's store is asked for it first."""
    wishes: list[tools.Wish] = []

    def missing(wish: tools.Wish, _: KindShape) -> tools.Tools:
        wishes.append(wish)
        raise MissingError("nothing is here")

    monkeypatch.setattr(tools, "find_tools", missing)
    ours = ("--image", "workload=w:1,enforcer=e:1")

    CliRunner().invoke(cli.main, ["perf", "--cluster", "kind", "--tiny", *ours, *options])

    (wish,) = wishes
    assert wish.images == ("e:1", "w:1", *images)


def test_our_network_comes_before_the_studys() -> None:
    """The runtime takes the first file, and the study's manifest writes one, too."""
    assert min("10-kuberouter.conf", FILE) == FILE


@pytest.mark.parametrize(
    ("cgroups", "uid"),
    [
        (f"0::/kubelet/kubepods/burstable/pod{UID}/abc", UID),
        (f"0::/kubelet.slice/kubepods-pod{UID.replace('-', '_')}.slice/cri-a.scope", UID),
        (f"12:pids:/docker/f00/kubepods/pod{UID}/abc\n1:name=systemd:/x", UID),
        ("0::/kubepods/pod0123456789abcdef0123456789abcdef/x", "0123456789abcdef" * 2),
        ("0::/system.slice/containerd.service", ""),
    ],
)
def test_a_process_is_known_by_its_cgroup(cgroups: str, uid: str) -> None:
    """The pod's UID is found whatever driver and runtime named the cgroup."""
    assert pod_of(cgroups) == uid


def test_links_lead_to_the_sandbox_and_go_with_the_pod(tmp_path: Path) -> None:
    """A pod's name leads to its oldest process; hostNetwork pods, and those gone, have none."""
    proc, folder = tmp_path / "proc", tmp_path / "links"
    for pid, cgroup, namespace in (
        (1, "0::/init", "node"),
        (30, f"0::/kubepods/pod{UID}/server", "pod"),
        (20, f"0::/kubepods/pod{UID}/pause", "pod"),
        (40, "0::/kubepods/pod0b3e1f6a-0000-0000-0000-000000000000/x", "node"),
    ):
        _process(proc, pid, cgroup, tmp_path / namespace)
    folder.mkdir()
    (folder / "gone").symlink_to("/nowhere")

    link_all(folder, proc)

    found = {path.name: path.readlink() for path in folder.iterdir()}
    assert found == {"node": proc / "1/ns/net", UID: proc / "20/ns/net"}


def test_all_that_is_missing_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with nothing is told everything that it lacks, and nothing is fetched."""
    monkeypatch.setattr(tools, "find_tool", lambda _name: None)
    monkeypatch.delenv(tools.NODE_IMAGE, raising=False)

    with pytest.raises(MissingError) as raised:
        tools.find_tools()

    said = str(raised.value)
    assert all(word in said for word in ("kind is", "kubectl is", "docker is", tools.NODE_IMAGE))


def _process(proc: Path, pid: int, cgroup: str, namespace: Path) -> None:
    folder = proc / str(pid)
    (folder / "ns").mkdir(parents=True)
    (folder / "cgroup").write_text(cgroup)
    namespace.touch()
    (folder / "ns" / "net").symlink_to(namespace)
