"""The official Python client does its work: it is what the harness uses."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config, watch

from tests.cluster.api_contract.objects import pod, policy, service
from tests.cluster.api_contract.servers import ControlPlane


@pytest.fixture
def connection(control_plane: ControlPlane) -> Iterator[Any]:
    """Return the client's connection, made from the kubeconfig."""
    connect: Any = config.new_client_from_config  # untyped in its package
    with connect(str(control_plane.kubeconfig)) as connected:
        yield connected


@pytest.fixture
def core(connection: Any) -> Any:
    """Return the core API."""
    return client.CoreV1Api(connection)


@pytest.fixture
def namespace(core: Any) -> str:
    """Return a namespace of the test's own."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
    return name


def test_typed_objects_come_back_as_they_were_made(core: Any, namespace: str) -> None:
    """Create, read, replace, patch, status, delete."""
    made = core.create_namespaced_pod(namespace, pod("a", labels={"app": "web"}))
    made.metadata.labels["more"] = "x"
    core.replace_namespaced_pod("a", namespace, made)
    core.patch_namespaced_pod("a", namespace, {"metadata": {"labels": {"app": None}}})
    core.patch_namespaced_pod_status("a", namespace, {"status": {"phase": "Running"}})

    found = core.read_namespaced_pod("a", namespace)
    core.delete_namespaced_pod("a", namespace, grace_period_seconds=0)

    assert found.metadata.labels == {"more": "x"}
    assert found.status.phase == "Running"
    assert found.spec.containers[0].ports[0].container_port == 80
    assert core.list_namespaced_pod(namespace).items == []


def test_policies_and_services_are_typed_too(core: Any, connection: Any, namespace: str) -> None:
    """What the harness deploys."""
    networking: Any = client.NetworkingV1Api(connection)
    rules = [{"from": [{"ipBlock": {"cidr": "14.215.0.0/16"}}], "ports": [{"port": 80}]}]
    networking.create_namespaced_network_policy(namespace, policy("p", ingress=rules))
    core.create_namespaced_service(namespace, service("s", "NodePort"))

    (found,) = networking.list_namespaced_network_policy(namespace).items
    (served,) = core.list_namespaced_service(namespace).items

    assert found.spec.ingress[0]._from[0].ip_block.cidr == "14.215.0.0/16"
    assert found.spec.policy_types == ["Ingress"]
    assert served.spec.cluster_ip
    assert served.spec.ports[0].node_port


def test_a_refusal_is_the_clients_exception(core: Any, namespace: str) -> None:
    """With the status that programs decide by."""
    with pytest.raises(client.ApiException) as missing:
        core.read_namespaced_pod("a", namespace)
    core.create_namespaced_pod(namespace, pod("a"))
    with pytest.raises(client.ApiException) as twice:
        core.create_namespaced_pod(namespace, pod("a"))

    assert (missing.value.status, twice.value.status) == (404, 409)


def test_the_watch_of_the_client_follows_a_list(core: Any, namespace: str) -> None:
    """From the version of the list, with what has happened since."""
    listed = core.list_namespaced_pod(namespace)
    core.create_namespaced_pod(namespace, pod("a"))
    core.delete_namespaced_pod("a", namespace, grace_period_seconds=0)
    watching: Any = watch.Watch
    stream = watching().stream(
        core.list_namespaced_pod,
        namespace,
        resource_version=listed.metadata.resource_version,
        timeout_seconds=20,
    )

    events = [next(stream) for _ in range(3)]

    assert [(event["type"], event["object"].metadata.name) for event in events] == [
        ("ADDED", "a"),
        ("MODIFIED", "a"),  # it is on its way out
        ("DELETED", "a"),
    ]


def test_a_list_comes_in_pages(core: Any, namespace: str) -> None:
    """The client's own names for limit and continue."""
    for name in "abc":
        core.create_namespaced_pod(namespace, pod(name))

    first = core.list_namespaced_pod(namespace, limit=2)
    rest = core.list_namespaced_pod(namespace, limit=2, _continue=first.metadata._continue)

    assert [p.metadata.name for p in (*first.items, *rest.items)] == ["a", "b", "c"]
