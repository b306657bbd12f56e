"""Where packets go without any enforcer, on routed and on bridged nodes."""

from __future__ import annotations

import json
import socket
import subprocess
from collections import Counter
from ipaddress import IPv4Network
from typing import Any

import pytest

from harness.clusters.base import NodeRef, OutsideRef, Place, PodRef, Probe, Verdict
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.clusters.embedded.settings import Shape

pytestmark = pytest.mark.cluster

INSIDE_CIDR, OUTSIDE_CIDR = "14.215.0.10", "14.216.0.10"
PODS = {"a1": "node-1", "a2": "node-1", "b1": "node-2"}


@pytest.fixture(scope="module", autouse=True)
def workload(cluster: EmbeddedCluster, kit: Any) -> None:
    """Run three nginx pods on two nodes, with Services before them."""
    cluster.apply(
        [
            *(
                kit.pod(name, node, labels={"app": "web", "pod": name})
                for name, node in PODS.items()
            ),
            kit.service("all", {"app": "web"}, type="NodePort"),
            *(kit.service(f"only-{name}", {"pod": name}) for name in PODS),
            kit.service("nobody", {"app": "missing"}),
        ]
    )
    cluster.wait_ready(timeout=180)


def front(cluster: EmbeddedCluster, kit: Any, service: str) -> str:
    """Return a Service's ClusterIP."""
    address: str = kit.live(cluster, "services", service)["spec"]["clusterIP"]
    return address


@pytest.mark.parametrize("client", PODS)
@pytest.mark.parametrize("server", PODS)
def test_pods_reach_each_other_with_their_own_address(
    cluster: EmbeddedCluster, kit: Any, client: str, server: str
) -> None:
    """A pod reaches every pod, itself too, and is seen with its own address."""
    said = kit.fetch(cluster, client, kit.address(cluster, server))

    assert said == f"{server} to {kit.address(cluster, client)}"


def test_every_way_is_open(cluster: EmbeddedCluster, kit: Any) -> None:
    """Pods, nodes and the outside reach every pod, by its address and through a Service."""
    node_port = kit.live(cluster, "services", "all")["spec"]["ports"][0]["nodePort"]
    pods: list[Place] = [PodRef("default", name) for name in PODS]
    nodes: list[Place] = [NodeRef(node.name) for node in cluster.nodes()]
    outside: list[Place] = [OutsideRef(INSIDE_CIDR), OutsideRef(OUTSIDE_CIDR)]
    services = [front(cluster, kit, f"only-{name}") for name in PODS]
    addresses = [kit.address(cluster, name) for name in PODS]
    probes = [Probe(source, target, 80) for source in (*pods, *nodes) for target in services]
    probes += [
        Probe(source, target, 80) for source in (*pods, *nodes, *outside) for target in addresses
    ]
    probes += [
        Probe(source, node.address, node_port)
        for source in (*pods, *nodes, *outside)
        for node in cluster.nodes()
    ]

    outcomes = cluster.probe(probes, timeout=20.0)

    wrong = [
        (probe, outcome)
        for probe, outcome in zip(probes, outcomes, strict=True)
        if outcome.verdict is not Verdict.OPEN
    ]
    assert wrong == []


def test_a_node_reaches_its_node_ports_by_loopback(cluster: EmbeddedCluster, kit: Any) -> None:
    """127.0.0.1 with a NodePort leads to pods of this node and of the other."""
    spec = kit.live(cluster, "services", "all")["spec"]
    probe = Probe(NodeRef("node-1"), "127.0.0.1", spec["ports"][0]["nodePort"])

    outcomes = cluster.probe([probe] * 20, timeout=20.0)

    assert {outcome.verdict for outcome in outcomes} == {Verdict.OPEN}


@pytest.mark.parametrize("address", [INSIDE_CIDR, OUTSIDE_CIDR, "8.8.8.8"])
def test_the_outside_serves(cluster: EmbeddedCluster, kit: Any, address: str) -> None:
    """A server answers at every public address, and sees the pod that asks."""
    said = kit.fetch(cluster, "a1", address)

    assert said == f"outside to {kit.address(cluster, 'a1')}"


def test_every_error_from_outside_arrives(cluster: EmbeddedCluster) -> None:
    """Of many packets at once to where nobody is, each is told so."""
    nowhere = [Probe(PodRef("default", "a1"), "192.0.2.1", port) for port in range(1, 31)]

    outcomes = cluster.probe(nowhere, timeout=1.0)

    assert {outcome.verdict for outcome in outcomes} == {Verdict.REJECTED}


def test_nobody_s_fabric_address_is_never_asked_for(cluster: EmbeddedCluster) -> None:
    """Packets to a fabric address without an owner leave no entry in any neighbour table."""
    sources: list[Place] = [PodRef("default", "a1"), NodeRef("node-1"), OutsideRef(INSIDE_CIDR)]

    outcomes = cluster.probe([Probe(one, "172.20.9.9", 80) for one in sources], timeout=0.5)

    assert Verdict.OPEN not in {outcome.verdict for outcome in outcomes}
    for place in sources:
        assert cluster.exec(place, ("ip", "neighbour", "show", "172.20.9.9")).stdout == ""


def test_a_service_uses_all_its_endpoints(cluster: EmbeddedCluster, kit: Any) -> None:
    """Connections to a ClusterIP are spread over every endpoint."""
    address = front(cluster, kit, "all")

    servers = Counter(kit.fetch(cluster, "a1", address).split()[0] for _ in range(40))

    assert set(servers) == set(PODS)


def test_a_service_keeps_the_client(cluster: EmbeddedCluster, kit: Any) -> None:
    """A pod that reaches another node's pod through a Service keeps its address."""
    said = kit.fetch(cluster, "a1", front(cluster, kit, "only-b1"))

    assert said == f"b1 to {kit.address(cluster, 'a1')}"


def test_hairpin_is_masqueraded(cluster: EmbeddedCluster, kit: Any) -> None:
    """A pod that reaches itself through a Service sees a client that is not itself."""
    said = kit.fetch(cluster, "a1", front(cluster, kit, "only-a1"))

    assert said.startswith("a1 to ")
    assert said != f"a1 to {kit.address(cluster, 'a1')}"


def test_node_ports_are_masqueraded(cluster: EmbeddedCluster, kit: Any) -> None:
    """A NodePort's client from outside is seen with the address of the node that it asked."""
    spec = kit.live(cluster, "services", "all")["spec"]
    node = cluster.nodes()[0]
    url = f"{node.address}:{spec['ports'][0]['nodePort']}"
    source = OutsideRef(INSIDE_CIDR)

    said = [kit.fetch(cluster, source, url, "--interface", INSIDE_CIDR) for _ in range(20)]
    from_afar = [line for line in said if line.startswith("b1 ")]

    assert from_afar
    assert set(from_afar) == {f"b1 to {node.address}"}


@pytest.mark.parametrize("source", [INSIDE_CIDR, OUTSIDE_CIDR, "203.0.113.7", "8.8.8.8"])
def test_outside_addresses_survive_both_ways(
    cluster: EmbeddedCluster, kit: Any, source: str
) -> None:
    """A pod sees an outside client's address; an outside server sees the pod's."""
    address = kit.address(cluster, "b1")
    place = OutsideRef(source)

    said = kit.fetch(cluster, place, address, "--interface", source)

    assert said == f"b1 to {source}"
    assert peer_of_a_pod(cluster, kit, source) == address


def peer_of_a_pod(cluster: EmbeddedCluster, kit: Any, server: str) -> str:
    """Return the client's address that a server outside sees when pod b1 connects."""
    program = (
        "import socket; s = socket.create_server(('" + server + "', 5979)); "
        "print(s.accept()[1][0], flush=True)"
    )
    client = (
        "import socket, sys, time\n"
        "for _ in range(6000):\n"
        "    try: socket.create_connection((sys.argv[1], 5979), 5); break\n"
        "    except ConnectionRefusedError: time.sleep(0.01)\n"
    )
    log = cluster.folder.path / f"peer-{server}.log"
    process = cluster.spawn(OutsideRef(server), ("python3", "-c", program), log)
    cluster.exec(PodRef("default", "b1"), ("python3", "-c", client, server))
    # The client may have gone before the server has run again: it tells, and ends by itself.
    kit.until(lambda: not process.running(), 60)
    return log.read_text().strip()


def test_a_service_without_endpoints_rejects(cluster: EmbeddedCluster, kit: Any) -> None:
    """A ClusterIP that nobody stands behind answers with an ICMP error, at once."""
    address = front(cluster, kit, "nobody")
    sources: tuple[Place, ...] = (PodRef("default", "a1"), NodeRef("node-1"))

    outcomes = cluster.probe([Probe(source, address, 80) for source in sources], timeout=20.0)

    assert {outcome.verdict for outcome in outcomes} == {Verdict.REJECTED}


def test_named_ports_and_udp(cluster: EmbeddedCluster, kit: Any) -> None:
    """A Service finds a port by its name, and forwards UDP."""
    ports = [{"name": "dns", "containerPort": 5353, "protocol": "UDP"}]
    pause = [{"name": "main", "image": "pause", "ports": ports}]
    wanted = [{"name": "d", "port": 53, "targetPort": "dns", "protocol": "UDP"}]
    cluster.apply(
        [
            kit.pod("named", "node-2", labels={"app": "named"}, containers=pause),
            kit.service("named", {"app": "named"}, ports=wanted),
        ]
    )
    cluster.wait_ready(timeout=180)
    cluster.prober.serve(cluster.netns(PodRef("default", "named")), "0.0.0.0", 5353, "UDP")
    address = front(cluster, kit, "named")

    (outcome,) = cluster.probe([Probe(PodRef("default", "a1"), address, 53, "UDP")], timeout=20.0)

    assert outcome.verdict is Verdict.OPEN


CLOSED = {Verdict.DROPPED, Verdict.REJECTED, Verdict.UNREACHABLE}


def test_neighbours_are_permanent(cluster: EmbeddedCluster) -> None:
    """After traffic in every direction no namespace holds a neighbour entry that can be collected.

    The kernel's table is one for all namespaces, and full with 1,024 of them. Also not after
    packets to pod addresses that no pod has, or ever gets.
    """
    places: list[Place] = [
        *(PodRef("default", name) for name in PODS),
        *(NodeRef(node.name) for node in cluster.nodes()),
        OutsideRef(INSIDE_CIDR),
    ]
    networks = [IPv4Network(node.pod_cidrs[0]) for node in cluster.nodes()]
    unused = [str(network[number]) for network in networks for number in (100, -3, -2)]
    probes = [Probe(place, address, 80) for place in places for address in unused]
    assert {one.verdict for one in cluster.probe(probes, timeout=0.5)} <= CLOSED

    for place in places:
        entries = json.loads(cluster.exec(place, ("ip", "-4", "-j", "neigh")).stdout)
        fleeting = [entry for entry in entries if entry["state"] != ["PERMANENT"]]
        assert fleeting == [], place


def test_conntrack_is_on(cluster: EmbeddedCluster, kit: Any) -> None:
    """A node tracks the connections of its pods, as any node with a Service proxy does."""
    kit.fetch(cluster, "a1", kit.address(cluster, "b1"))
    path = "/proc/sys/net/netfilter/nf_conntrack_count"

    counted = cluster.exec(NodeRef("node-1"), ("cat", path)).stdout

    assert int(counted) > 0


def test_bridge_netfilter_is_as_asked(cluster: EmbeddedCluster) -> None:
    """The nodes' bridge-nf-call-iptables says what the cluster was asked for."""
    path = "/proc/sys/net/bridge/bridge-nf-call-iptables"
    if cluster.describe()["cni"] == "routed":
        return

    value = cluster.exec(NodeRef("node-1"), ("cat", path)).stdout.strip()

    assert value == str(int(cluster.describe()["bridge_netfilter"]))


def test_no_packet_reaches_the_host(cluster: EmbeddedCluster) -> None:
    """The host's own addresses, and the world behind it, cannot be reached from anywhere inside."""
    places: list[Place] = [PodRef("default", "a1"), NodeRef("node-1"), OutsideRef(INSIDE_CIDR)]
    with socket.create_server(("0.0.0.0", 0)) as listener:
        listener.settimeout(0)
        port = listener.getsockname()[1]
        targets = [*host_addresses(), "1.1.1.1"]
        probes = [Probe(place, target, port) for place in places for target in targets]

        outcomes = cluster.probe(probes, timeout=0.5)

        assert Verdict.OPEN not in {outcome.verdict for outcome in outcomes}
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_no_interface_leads_out(cluster: EmbeddedCluster) -> None:
    """Every interface inside is a bridge, the loopback, or a veth whose other end is inside too."""
    inside = {"bridge", "veth"}
    places: list[Place] = [PodRef("default", "a1"), NodeRef("node-1"), OutsideRef(INSIDE_CIDR)]

    for place in places:
        links = json.loads(cluster.exec(place, ("ip", "-j", "-d", "link")).stdout)
        kinds = {
            link.get("linkinfo", {}).get("info_kind") for link in links if link["ifname"] != "lo"
        }
        assert kinds <= inside, place
    host = json.loads(run("ip", "-j", "link"))
    assert not [link for link in host if link["ifname"].startswith(("port1", "fabric"))]


def test_masquerading_hides_pods(kit: Any, name: str) -> None:
    """With ``masquerade`` an outside server sees the node; pods still see each other."""
    shape = Shape(name, masquerade=True)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "b1", "namespace": "default"},
        "spec": {"nodeName": "node-2", "containers": [{"name": "main", "image": "nginx"}]},
    }
    with EmbeddedCluster(shape) as cluster:
        cluster.apply([pod])
        cluster.wait_ready(timeout=180)

        assert peer_of_a_pod(cluster, kit, INSIDE_CIDR) == cluster.nodes()[1].address


def host_addresses() -> list[str]:
    """Return the host's own addresses, without its loopback."""
    links = json.loads(run("ip", "-4", "-j", "addr"))
    return [info["local"] for link in links for info in link["addr_info"] if link["ifname"] != "lo"]


def run(*argv: str) -> str:
    """Run a command on the host and return what it prints."""
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
