"""Kubectl works for what a person does by hand."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.api_contract.objects import pod, policy, service
from tests.cluster.api_contract.servers import SECONDS, ControlPlane

pytestmark = pytest.mark.optional("kubectl")

Kubectl = Callable[..., str]


@pytest.fixture
def command(control_plane: ControlPlane, tmp_path: Path) -> list[str]:
    """Return how kubectl is called for the control plane; its cache is the test's own."""
    kubeconfig = f"--kubeconfig={control_plane.kubeconfig}"
    return ["kubectl", kubeconfig, f"--cache-dir={tmp_path}"]


@pytest.fixture
def kubectl(command: list[str]) -> Kubectl:
    """Run kubectl and return what it prints."""

    def run(*arguments: str, stdin: str | None = None, expect: int = 0) -> str:
        done = subprocess.run(
            [*command, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=3 * SECONDS,
            check=False,
        )
        assert done.returncode == expect, done.stderr
        return done.stdout if expect == 0 else done.stderr

    return run


@pytest.fixture
def namespace(kubectl: Kubectl) -> str:
    """Return a namespace with the label that policies select."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    metadata = {"name": name, "labels": {"app": name}}
    create(kubectl, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    return name


def create(kubectl: Kubectl, *objects: dict[str, Any], verb: str = "create") -> str:
    """Hand objects to kubectl as a file on its standard input."""
    return kubectl(verb, "--validate=false", "-f", "-", stdin=yaml.safe_dump_all(objects))


def inside(namespace: str, body: dict[str, Any], kind: str = "Pod") -> dict[str, Any]:
    """Return an object that says where it belongs."""
    metadata = body["metadata"] | {"namespace": namespace}
    return {"apiVersion": "v1", "kind": kind} | body | {"metadata": metadata}


def found(kubectl: Kubectl, *arguments: str) -> Any:
    """Return what kubectl gets, as JSON."""
    return json.loads(kubectl("get", *arguments, "-o", "json"))


def test_objects_are_created_and_shown(kubectl: Kubectl, namespace: str) -> None:
    """Create -f, get in every form, describe."""
    create(
        kubectl,
        inside(namespace, pod("a", labels={"app": "web"})),
        inside(namespace, service("s", "NodePort"), "Service"),
        inside(namespace, policy("p", ingress=[{}])),
    )

    wide = kubectl("get", "pods", "-A", "-o", "wide").splitlines()
    shown = [line.split() for line in wide if line.startswith(namespace)]
    header = wide[0].split()
    assert header[:7] == ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"]
    assert [line[1:4] for line in shown] == [["a", "0/1", "Pending"]]
    assert "node-of-nobody" in shown[0]
    assert "app=web" in kubectl("get", "pods", "-n", namespace, "--show-labels")
    assert "NodePort" in kubectl("get", "services", "-n", namespace)
    assert "\np " in kubectl("get", "netpol", "-n", namespace)
    assert yaml.safe_load(kubectl("get", "pod/a", "-n", namespace, "-o", "yaml"))["kind"] == "Pod"
    for thing in ("pod/a", "service/s", "netpol/p"):
        assert namespace in kubectl("describe", thing, "-n", namespace)
    assert namespace in kubectl("describe", "namespace", namespace)
    assert namespace in kubectl("get", "namespaces")


def test_generators_create(kubectl: Kubectl) -> None:
    """Create namespace, configmap and service send protobuf; run and create -f send JSON."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    body = yaml.safe_dump(inside(name, policy("p", ingress=[{}])))

    kubectl("create", "namespace", name)
    kubectl("create", "configmap", "c", "--from-literal=key=value", "-n", name)
    kubectl("create", "service", "nodeport", "s", "--tcp=80:8080", "-n", name)
    kubectl("create", "service", "clusterip", "t", "--tcp=80:web", "-n", name)
    kubectl("run", "a", "--image=nginx", "--port=80", "--labels=app=web", "-n", name)
    kubectl("create", "-f", "-", stdin=body)

    assert found(kubectl, "configmap", "c", "-n", name)["data"] == {"key": "value"}
    ports = found(kubectl, "service", "s", "-n", name)["spec"]["ports"]
    assert [(p["port"], p["targetPort"], p["protocol"]) for p in ports] == [(80, 8080, "TCP")]
    assert found(kubectl, "service", "t", "-n", name)["spec"]["ports"][0]["targetPort"] == "web"
    assert found(kubectl, "pod", "a", "-n", name)["metadata"]["labels"] == {"app": "web"}
    assert found(kubectl, "netpol", "p", "-n", name)["spec"]["ingress"] == [{}]


def test_labels_are_set_and_removed(kubectl: Kubectl, namespace: str) -> None:
    """Label, its overwrite, its removal; annotate alike."""
    create(kubectl, inside(namespace, pod("a")))

    kubectl("label", "pod", "a", "app=web", "tier=front", "-n", namespace)
    kubectl("label", "pod", "a", "app=db", "--overwrite", "tier-", "-n", namespace)
    kubectl("annotate", "pod", "a", "note=x", "-n", namespace)
    kubectl("label", "namespace", namespace, "more=x")

    metadata = found(kubectl, "pod", "a", "-n", namespace)["metadata"]
    assert metadata["labels"] == {"app": "db"}
    assert metadata["annotations"]["note"] == "x"
    assert found(kubectl, "pods", "-n", namespace, "-l", "app in (db)")["items"]
    assert found(kubectl, "namespace", namespace)["metadata"]["labels"]["more"] == "x"


def test_patches_of_both_types_apply(kubectl: Kubectl, namespace: str) -> None:
    """Patch --type=merge and --type=json."""
    create(kubectl, inside(namespace, policy("p")))
    target = ("patch", "netpol", "p", "-n", namespace)

    kubectl(*target, "--type=merge", "-p", '{"spec": {"ingress": [{}]}}')
    change = '[{"op": "add", "path": "/spec/egress", "value": [{}]}]'
    kubectl(*target, "--type=json", "-p", change)

    spec = found(kubectl, "netpol", "p", "-n", namespace)["spec"]
    assert (spec["ingress"], spec["egress"]) == ([{}], [{}])


def test_a_policy_can_be_applied_twice(kubectl: Kubectl, namespace: str) -> None:
    """Apply creates, then changes, then finds nothing to change."""
    first = inside(namespace, policy("p", ingress=[{"from": [{"podSelector": {}}]}]))
    second = inside(namespace, policy("p", podSelector={"matchLabels": {"app": "web"}}))

    outputs = [create(kubectl, body, verb="apply") for body in (first, second, second)]

    assert [text.split()[-1] for text in outputs] == ["created", "configured", "unchanged"]
    assert not found(kubectl, "netpol", "p", "-n", namespace)["spec"].get("ingress")


def test_an_empty_list_of_a_policy_is_not_kept(kubectl: Kubectl, namespace: str) -> None:
    """So apply sees a difference each time, and the meaning is that of a missing one."""
    body = inside(namespace, policy("p", ingress=[]))

    outputs = [create(kubectl, body, verb="apply") for _ in range(2)]

    assert [text.split()[-1] for text in outputs] == ["created", "configured"]
    assert "ingress" not in found(kubectl, "netpol", "p", "-n", namespace)["spec"]


def test_objects_are_deleted(kubectl: Kubectl, namespace: str) -> None:
    """By name, all of a kind, by selector, by force; and waiting until they are gone."""
    create(kubectl, *(inside(namespace, policy(name)) for name in "pqr"))
    create(kubectl, inside(namespace, pod("a", labels={"app": "web"})))

    kubectl("delete", "netpol", "p", "-n", namespace)
    create(kubectl, inside(namespace, policy("q")), verb="replace")
    kubectl("delete", "netpol", "--all", "-n", namespace)
    kubectl("delete", "pod", "-l", "app=web", "-n", namespace, "--force", "--grace-period=0")

    assert found(kubectl, "netpol", "-n", namespace)["items"] == []
    assert found(kubectl, "pods", "-n", namespace)["items"] == []


def test_a_watch_shows_changes(kubectl: Kubectl, command: list[str], namespace: str) -> None:
    """Get -w prints a line for each change."""
    create(kubectl, inside(namespace, pod("a")))
    watch = ["get", "pods", "-n", namespace, "-w", f"--request-timeout={int(SECONDS)}s"]
    with subprocess.Popen([*command, *watch], stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().startswith("NAME")
        assert watching.stdout.readline().split()[:3] == ["a", "0/1", "Pending"]
        kubectl("delete", "pod", "a", "-n", namespace, "--wait=false")
        assert watching.stdout.readline().split()[:3] == ["a", "0/1", "Terminating"]
        watching.terminate()


def test_a_wait_for_a_condition_ends(kubectl: Kubectl, namespace: str) -> None:
    """Wait reads the status and watches it."""
    create(kubectl, inside(namespace, pod("a")))

    waiting = ("wait", "--for=jsonpath={.status.phase}=Pending", "pod/a", "-n", namespace)

    assert "condition met" in kubectl(*waiting, "--timeout=10s")


def test_a_mistake_is_shown_as_the_server_says_it(kubectl: Kubectl, namespace: str) -> None:
    """The person reads which fields are wrong."""
    wrong = inside(namespace, policy("p", ingress=[{"from": [{"ipBlock": {"cidr": "nonsense"}}]}]))
    body = yaml.safe_dump(wrong)

    message = kubectl("create", "--validate=false", "-f", "-", stdin=body, expect=1)

    assert "spec.ingress[0].from[0].ipBlock.cidr" in message


def test_a_field_of_a_policy_that_does_not_exist_is_refused(
    kubectl: Kubectl, namespace: str
) -> None:
    """A mistyped word would else make another policy of it; all of them are named."""
    rule = {"from": [{"podSelector": {"matchLabel": {}}}], "ports": [{"port": 80, "prot": "TCP"}]}
    body = yaml.safe_dump(inside(namespace, policy("p", podSelctor={}, ingress=[rule])))

    message = kubectl("create", "-f", "-", stdin=body, expect=1)

    for field in (
        "podSelctor",
        "ingress[0].from[0].podSelector.matchLabel",
        "ingress[0].ports[0].prot",
    ):
        assert f'unknown field "spec.{field}"' in message
    right = yaml.safe_dump(inside(namespace, policy("p", podSelector={"matchLabels": {"a": "b"}})))
    kubectl("create", "-f", "-", stdin=right)


def test_what_is_not_there_is_not_found(kubectl: Kubectl, namespace: str) -> None:
    """And the exit code says so."""
    assert "NotFound" in kubectl("get", "pod", "a", "-n", namespace, expect=1)
