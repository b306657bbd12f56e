"""Pods come to life, change and end, as kubectl's user expects."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from harness.clusters.base import Manifest, NodeRef, OutsideRef, PodRef, Probe, Verdict
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.clusters.embedded.settings import Shape
from harness.errors import ClusterError, UsageError

pytestmark = pytest.mark.cluster

ROOM = 6


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedCluster]:
    """Yield a routed cluster of two nodes with little room."""
    with EmbeddedCluster(Shape(f"t{os.getpid()}-pods", pods_per_node=ROOM)) as made:
        yield made


@pytest.fixture(autouse=True)
def emptied(cluster: EmbeddedCluster, kit: Any) -> Iterator[None]:
    """Remove every pod and Service after a test."""
    yield
    for kind, plural in (("Pod", "pods"), ("Service", "services")):
        items = cluster.objects.get(f"/api/v1/namespaces/default/{plural}")["items"]
        cluster.delete([{"apiVersion": "v1", "kind": kind} | item for item in items])
    kit.until(lambda: cluster.objects.get("/api/v1/pods")["items"] == [])


def pods(cluster: EmbeddedCluster) -> dict[str, Manifest]:
    """Return all pods by name."""
    items = cluster.objects.get("/api/v1/pods")["items"]
    return {item["metadata"]["name"]: item for item in items}


def reach(cluster: EmbeddedCluster, address: str, port: int) -> Verdict:
    """Probe from outside."""
    (outcome,) = cluster.probe([Probe(OutsideRef("14.215.0.10"), address, port)], timeout=20.0)
    return outcome.verdict


def kubectl(cluster: EmbeddedCluster, *argv: str, stdin: str = "") -> str:
    """Run kubectl as a person would."""
    command = ("kubectl", "--kubeconfig", str(cluster.kubeconfig), *argv)
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.optional("kubectl")
def test_a_pod_made_with_kubectl_comes_to_life(cluster: EmbeddedCluster, kit: Any) -> None:
    """``kubectl run``, ``label``, ``expose``, ``get`` and ``delete`` act on real servers."""
    kubectl(cluster, "run", "web", "--image=nginx:1.25", "--port=8080")
    cluster.wait_ready(timeout=180)
    kubectl(cluster, "label", "pod", "web", "tier=front")
    kubectl(cluster, "expose", "pod", "web", "--port=80", "--target-port=8080")
    cluster.wait_ready(timeout=180)

    service = kit.live(cluster, "services", "web")["spec"]["clusterIP"]
    assert kit.fetch(cluster, NodeRef("node-1"), service).startswith("web to ")
    listed = kubectl(cluster, "get", "pods", "-l", "tier=front", "-o", "wide")
    assert "Running" in listed
    assert kit.address(cluster, "web") in listed
    kubectl(cluster, "delete", "pod", "web")
    assert "web" not in pods(cluster)


def test_nginx_listens_on_every_port_that_it_names(cluster: EmbeddedCluster, kit: Any) -> None:
    """A pod with several containerPorts answers on each, and on no other."""
    ports = [{"containerPort": port} for port in (80, 6379, 5978)]
    cluster.apply([kit.pod("p", containers=[{"name": "m", "image": "nginx", "ports": ports}])])
    cluster.wait_ready(timeout=180)
    address = kit.address(cluster, "p")

    seen = {port: reach(cluster, address, port) for port in (80, 6379, 5978, 8080)}

    assert seen == dict.fromkeys((80, 6379, 5978), Verdict.OPEN) | {8080: Verdict.RESET}


def test_pods_are_spread_and_stay_where_they_are_bound(cluster: EmbeddedCluster, kit: Any) -> None:
    """Pods without a nodeName are spread over the nodes; one with a nodeName runs there."""
    cluster.apply([kit.pod("fixed", "node-2"), *(kit.pod(f"free-{n}") for n in range(4))])
    cluster.wait_ready(timeout=180)

    homes = {name: pod["spec"]["nodeName"] for name, pod in pods(cluster).items()}

    assert homes.pop("fixed") == "node-2"
    assert set(homes.values()) == {"node-1", "node-2"}


def test_a_pod_beyond_the_room_waits(cluster: EmbeddedCluster, kit: Any) -> None:
    """When all nodes are full a pod stays pending; it starts when there is room."""
    cluster.apply([kit.pod(f"p{n}") for n in range(2 * ROOM)])
    cluster.wait_ready(timeout=180)
    cluster.apply([kit.pod("late")])

    with pytest.raises(ClusterError, match="1 have no node"):
        cluster.wait_ready(timeout=0.5)
    cluster.delete([kit.pod("p0")])
    cluster.wait_ready(timeout=180)

    assert set(pods(cluster)) == {"late", *(f"p{n}" for n in range(1, 2 * ROOM))}


def test_a_pod_bound_beyond_the_room_is_refused(cluster: EmbeddedCluster, kit: Any) -> None:
    """A node that is full refuses a pod with its name in nodeName, as a kubelet does."""
    cluster.apply([kit.pod(f"p{n}", "node-1") for n in range(ROOM)])
    cluster.wait_ready(timeout=180)
    cluster.apply([kit.pod("more", "node-1")])

    status = kit.until(lambda: pods(cluster)["more"]["status"].get("reason") and pods(cluster))

    assert status["more"]["status"]["phase"] == "Failed"
    assert status["more"]["status"]["reason"] == "OutOfpods"
    cluster.delete([kit.pod("p0"), kit.pod("more")])
    kit.until(lambda: not {"p0", "more"} & set(pods(cluster)))
    cluster.apply([kit.pod("more", "node-1")])
    cluster.wait_ready(timeout=180)


def test_a_pod_of_no_node_ends_when_deleted(cluster: EmbeddedCluster, kit: Any) -> None:
    """A pod bound to a node that does not exist waits for ever, but its deletion does not."""
    cluster.apply([kit.pod("lost", "node-99")])

    cluster.delete([kit.pod("lost")])

    kit.until(lambda: "lost" not in pods(cluster))


def test_a_deleted_pod_is_gone(cluster: EmbeddedCluster, kit: Any) -> None:
    """Its process, its interface, its route and its namespace go; a new one of its name lives."""
    cluster.apply([kit.pod("p", "node-1")])
    cluster.wait_ready(timeout=180)
    address = kit.address(cluster, "p")
    route = ("ip", "route", "show", address)
    assert cluster.exec(NodeRef("node-1"), route).stdout

    cluster.delete([kit.pod("p")])
    kit.until(lambda: "p" not in pods(cluster))

    assert cluster.exec(NodeRef("node-1"), route).stdout == ""
    with pytest.raises(ClusterError, match="no network namespace"):
        cluster.exec(PodRef("default", "p"), ("true",))
    cluster.apply([kit.pod("p", "node-1")])
    cluster.wait_ready(timeout=180)
    assert reach(cluster, kit.address(cluster, "p"), 80) is Verdict.OPEN


def test_many_short_lives(cluster: EmbeddedCluster, kit: Any) -> None:
    """Pods that are deleted while they start leave nothing, and addresses are used again."""
    for round_number in range(4):
        made = [kit.pod(f"r{round_number}-{n}") for n in range(2 * ROOM)]
        cluster.apply(made)
        cluster.delete(made)
        kit.until(lambda: not pods(cluster))
    cluster.apply([kit.pod(f"last-{n}") for n in range(2 * ROOM)])
    cluster.wait_ready(timeout=180)

    addresses = [pod["status"]["podIP"] for pod in pods(cluster).values()]
    assert len(set(addresses)) == 2 * ROOM
    assert {reach(cluster, address, 80) for address in addresses} == {Verdict.OPEN}
    links = cluster.exec(NodeRef("node-1"), ("ip", "-o", "link", "show", "type", "veth")).stdout
    assert len(links.splitlines()) == ROOM + 1


@pytest.mark.optional("kubectl")
def test_a_pod_made_again_at_once_comes_to_life(cluster: EmbeddedCluster, kit: Any) -> None:
    """A pod that takes the name of one deleted without grace waits until that one is gone."""
    nodes = [node.name for node in cluster.nodes()]
    for round_ in range(10):
        made = [kit.pod(f"again-{number}", nodes[(number + round_) % 2]) for number in range(2)]
        cluster.apply(made)
        cluster.wait_ready()
        for pod in made:
            assert reach(cluster, kit.address(cluster, pod["metadata"]["name"]), 80) is Verdict.OPEN
            name = pod["metadata"]["name"]
            kubectl(cluster, "delete", "pod", name, "--force", "--grace-period=0", "--wait=false")


def test_commands_run_and_end(cluster: EmbeddedCluster, kit: Any) -> None:
    """A command of the host's runs; without restarts its exit code becomes the pod's phase."""

    def job(name: str, script: str, policy: str) -> Manifest:
        container = {"name": "main", "image": "busybox", "command": ["sh", "-c", script]}
        made: Manifest = kit.pod(name, containers=[container], restartPolicy=policy)
        return made

    cluster.apply(
        [
            job("well", "exit 0", "Never"),
            job("ill", "exit 3", "Never"),
            job("on", "sleep 999", "Always"),
        ]
    )
    phases = {"well": "Succeeded", "ill": "Failed", "on": "Running"}

    kit.until(
        lambda: {name: pod["status"]["phase"] for name, pod in pods(cluster).items()} == phases
    )

    state = pods(cluster)["ill"]["status"]["containerStatuses"][0]["state"]
    assert state["terminated"]["exitCode"] == 3
    cluster.wait_ready(timeout=180)


def test_nginx_that_dies_is_started_again(cluster: EmbeddedCluster, kit: Any) -> None:
    """A container that ends is restarted, counted, and answers again."""
    cluster.apply([kit.pod("p", "node-1")])
    cluster.wait_ready(timeout=180)
    address = kit.address(cluster, "p")

    cluster.exec(
        PodRef("default", "p"), ("sh", "-c", "kill -9 $(ip netns pids pod_default_p | grep -v $$)")
    )

    def restarts() -> bool:
        return bool(pods(cluster)["p"]["status"]["containerStatuses"][0]["restartCount"])

    kit.until(restarts)
    kit.until(lambda: reach(cluster, address, 80) is Verdict.OPEN)


def test_a_host_network_pod_is_its_node(cluster: EmbeddedCluster, kit: Any) -> None:
    """A hostNetwork pod has its node's address and serves there."""
    ports = [{"containerPort": 8081}]
    cluster.apply(
        [
            kit.pod(
                "h",
                "node-2",
                hostNetwork=True,
                containers=[{"name": "m", "image": "nginx", "ports": ports}],
            )
        ]
    )
    cluster.wait_ready(timeout=180)

    assert kit.address(cluster, "h") == cluster.nodes()[1].address
    assert reach(cluster, cluster.nodes()[1].address, 8081) is Verdict.OPEN


def test_services_follow_their_pods(cluster: EmbeddedCluster, kit: Any) -> None:
    """A label that comes or goes, and a pod that goes, change who answers for a Service."""
    cluster.apply([kit.pod("p"), kit.pod("q"), kit.service("s", {"role": "server"})])
    cluster.wait_ready(timeout=180)
    address = kit.live(cluster, "services", "s")["spec"]["clusterIP"]

    def server() -> str:
        return str(kit.fetch(cluster, NodeRef("node-1"), address)).partition(" ")[0]

    assert server() == ""
    cluster.apply([kit.pod("p", labels={"role": "server"})])
    kit.until(lambda: server() == "p")
    cluster.apply([kit.pod("q", labels={"role": "server"})])
    cluster.delete([kit.pod("p")])
    kit.until(lambda: server() == "q")
    cluster.delete([kit.service("s", {})])
    kit.until(lambda: server() == "")


def test_what_cannot_be_applied_is_named(cluster: EmbeddedCluster) -> None:
    """An object of a kind that is not served is refused by its name."""
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}

    with pytest.raises(UsageError, match="Deployment of apps/v1 is not served"):
        cluster.apply([deployment])
