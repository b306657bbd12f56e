"""What people type works: Deployments, Services, namespaces that end, logs, and what is refused."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from harness.clusters.base import NodeRef, PodRef, Probe, Verdict
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.errors import ClusterError

pytestmark = [pytest.mark.cluster, pytest.mark.optional("@control-plane", "kubectl")]


def test_a_deployment_is_scaled_and_rolled(kubectl: Any) -> None:
    """Fifty pods come to life on both nodes, and each is replaced by one of the new image."""
    kubectl("create", "deployment", "web", "--image=nginx", "--replicas=2")
    kubectl("scale", "deployment", "web", "--replicas=50")
    kubectl("rollout", "status", "deployment", "web", "--timeout=60s")
    kubectl("set", "image", "deployment/web", "nginx=nginx:2")
    kubectl("rollout", "status", "deployment", "web", "--timeout=60s")
    kubectl("wait", "--for=delete", "pod", "-l", "app=web,old=never", "--timeout=60s")

    pods = kubectl.json("get", "pods", "-l", "app=web")["items"]
    live = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    assert len(live) == 50
    assert {pod["spec"]["nodeName"] for pod in live} == {"node-1", "node-2"}
    assert {c["image"] for pod in live for c in pod["spec"]["containers"]} == {"nginx:2"}


def test_an_exposed_deployment_is_reached(cluster: EmbeddedCluster, kubectl: Any) -> None:
    """By a pod and from the nodes, at the address that the API server gave the Service."""
    kubectl("create", "deployment", "shop", "--image=nginx", "--replicas=3")
    kubectl("expose", "deployment", "shop", "--port=80")
    kubectl("rollout", "status", "deployment", "shop", "--timeout=60s")
    cluster.wait_ready(timeout=180)

    address = kubectl.json("get", "service", "shop")["spec"]["clusterIP"]
    pod = kubectl.json("get", "pods", "-l", "app=shop")["items"][0]["metadata"]["name"]
    places = (PodRef("default", pod), NodeRef("node-1"), NodeRef("node-2"))
    outcomes = cluster.probe([Probe(place, address, 80) for place in places], 5.0)
    assert [outcome.verdict for outcome in outcomes] == [Verdict.OPEN] * 3


def test_a_namespace_ends_with_all_in_it(kubectl: Any) -> None:
    """Its Deployment, its pods, and then itself."""
    kubectl("create", "namespace", "short")
    kubectl("create", "deployment", "web", "--image=nginx", "--replicas=3", "-n", "short")
    kubectl("rollout", "status", "deployment", "web", "-n", "short", "--timeout=60s")

    kubectl("delete", "namespace", "short", "--timeout=60s")

    assert kubectl.attempt("get", "namespace", "short").returncode == 1


def test_a_manifest_is_validated_by_the_server(kubectl: Any) -> None:
    """A field that does not exist is refused, without any flag."""
    manifest = '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "sepc": {}}'

    done = kubectl.attempt("apply", "-f", "-", stdin=manifest)

    assert done.returncode == 1
    assert 'unknown field "sepc"' in done.stderr


def test_logs_show_the_requests_of_a_pod(
    cluster: EmbeddedCluster, kubectl: Any, until: Any
) -> None:
    """The pod's own, the last lines when asked for, and those to come with -f."""
    kubectl("run", "logged", "--image=nginx", "--port=80")
    kubectl("wait", "--for=condition=Ready", "pod/logged", "--timeout=60s")
    address = kubectl.json("get", "pod", "logged")["status"]["podIP"]

    def ask(path: str) -> None:
        cluster.exec(NodeRef("node-1"), ("curl", "-s", f"http://{address}/{path}"))

    ask("first")
    ask("second")
    until(lambda: "GET /second" in kubectl("logs", "logged"))
    assert "GET /first" in kubectl("logs", "logged")
    (last,) = kubectl("logs", "logged", "--tail=1").splitlines()
    assert "GET /second" in last

    argv = kubectl.argv("logs", "logged", "-f", "--tail=0")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        ask("third")
        assert "GET /third" in following.stdout.readline()
        following.kill()


@pytest.mark.parametrize("words", [("exec", "x", "--", "ls"), ("port-forward", "x", "1080:80")])
def test_streams_are_refused_with_what_to_use(
    cluster: EmbeddedCluster, kubectl: Any, words: tuple[str, ...]
) -> None:
    """One sentence names the command that does the same here."""
    kubectl("run", "streams", "--image=nginx")
    kubectl("wait", "--for=condition=Ready", "pod/streams", "--timeout=60s")

    done = kubectl.attempt(*("streams" if word == "x" else word for word in words))
    kubectl("delete", "pod", "streams", "--now")

    assert done.returncode == 1
    assert f"harness cluster exec --name {cluster.name} default/streams" in done.stderr


def probing(name: str, **probe: Any) -> dict[str, Any]:
    """Return an nginx pod with a readiness probe."""
    container = {
        "name": "main",
        "image": "nginx",
        "ports": [{"name": "web", "containerPort": 80}],
        "readinessProbe": {"periodSeconds": 1, **probe},
    }
    meta = {"name": name, "namespace": "default"}
    spec = {"containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def test_a_pod_is_ready_when_its_probe_succeeds(
    cluster: EmbeddedCluster, kubectl: Any, until: Any
) -> None:
    """A probe of a port that answers succeeds, one of a port that is closed does not.

    A command is run in the pod's network; what fails, hangs or is not there does not succeed.
    """
    cluster.apply(
        [
            probing("http", httpGet={"path": "/", "port": "web"}),
            probing("tcp", tcpSocket={"port": 80}),
            probing("closed", tcpSocket={"port": 81}),
            probing("inside", exec={"command": ["curl", "-sf", "http://127.0.0.1:80/"]}),
            probing("fails", exec={"command": ["curl", "-sf", "http://127.0.0.1:81/"]}),
            probing("hangs", exec={"command": ["sleep", "3600"]}),
            probing("absent", exec={"command": ["no-such-command"]}),
        ]
    )

    def conditions(name: str) -> dict[str, str]:
        found = kubectl.json("get", "pod", name)["status"].get("conditions", ())
        return {condition["type"]: condition["status"] for condition in found}

    for name in ("http", "tcp", "inside"):
        until(lambda name=name: conditions(name).get("Ready") == "True")
    for name in ("closed", "fails", "hangs", "absent"):
        until(lambda name=name: kubectl.json("get", "pod", name)["status"]["phase"] == "Running")
        assert conditions(name)["Ready"] == "False"
        assert conditions(name)["Initialized"] == "True"
    kubectl("delete", "pod", "closed", "fails", "hangs", "absent", "--now")


def test_a_probe_that_is_not_run_here_is_named(
    cluster: EmbeddedCluster, kubectl: Any, until: Any
) -> None:
    """A pod with a gRPC probe is never Ready, and says why; so does whoever waits for it."""
    cluster.apply([probing("grpc", grpc={"port": 80})])

    def ready() -> dict[str, str]:
        found = kubectl.json("get", "pod", "grpc")["status"].get("conditions", ())
        return next((one for one in found if one["type"] == "Ready"), {})

    until(lambda: ready().get("reason") == "ProbeNotSupported")
    assert ready()["status"] == "False"
    sentence = "main: gRPC readiness probes are not run here; use httpGet, tcpSocket or exec"
    assert ready()["message"] == sentence
    with pytest.raises(ClusterError, match=sentence):
        cluster.wait_ready(timeout=180)
    kubectl("delete", "pod", "grpc", "--now")


def test_the_api_server_is_reached_through_its_service(
    cluster: EmbeddedCluster, kubectl: Any
) -> None:
    """The Service ``kubernetes`` leads pods and nodes to the API server, which asks who it is."""
    kubectl("run", "asking", "--image=nginx")
    kubectl("wait", "--for=condition=Ready", "pod/asking", "--timeout=60s")
    address = kubectl.json("get", "service", "kubernetes")["spec"]["clusterIP"]

    argv = ("curl", "-sk", "-w", "%{http_code}", "-o", "/dev/null", f"https://{address}/version")
    places = (PodRef("default", "asking"), NodeRef("node-1"), NodeRef("node-2"))
    assert [cluster.exec(place, argv).stdout for place in places] == ["401"] * len(places)


def test_nodes_are_ready_for_pods(kubectl: Any) -> None:
    """Without taints that were left over, with room for pods, and with Leases that are held."""
    nodes = kubectl.json("get", "nodes")["items"]
    leases = kubectl.json("get", "leases", "-n", "kube-node-lease")["items"]

    assert [node["spec"].get("taints") for node in nodes] == [None, None]
    assert [node["status"]["allocatable"]["pods"] for node in nodes] == ["110", "110"]
    assert [lease["spec"]["holderIdentity"] for lease in leases] == ["node-1", "node-2"]
