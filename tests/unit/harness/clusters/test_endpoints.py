"""Which pods stand behind a Service, and how the proxy's elements follow."""

from __future__ import annotations

from typing import Any

import pytest

from harness.clusters.embedded.endpoints import Endpoint, Endpoints, Front, Table
from harness.clusters.embedded.proxy import Element, change


def pod(name: str, address: str = "10.0.0.1", ready: str = "True", **labels: str) -> dict[str, Any]:
    """Return a pod with a named port, on its way out if its name says so."""
    meta: dict[str, Any] = {"uid": name, "name": name, "namespace": "default", "labels": labels}
    if name.startswith("ending"):
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ports = [{"name": "http", "containerPort": 8080}]
    return {
        "metadata": meta,
        "spec": {"containers": [{"name": "main", "ports": ports}]},
        "status": {"podIP": address, "conditions": [{"type": "Ready", "status": ready}]},
    }


def service(target: Any = 80, **spec: Any) -> dict[str, Any]:
    """Return a Service for pods of app=web."""
    return {
        "metadata": {"uid": "s", "name": "s", "namespace": spec.pop("namespace", "default")},
        "spec": {
            "clusterIP": "10.96.0.1",
            "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": target}],
        }
        | spec,
    }


CLUSTER_IP = Front("10.96.0.1", "TCP", 80)


def table(svc: dict[str, Any], *pods: dict[str, Any]) -> dict[Front, tuple[Endpoint, ...]]:
    """Return the table of one Service and some pods."""
    endpoints = Endpoints()
    endpoints.set_service(svc)
    for one in pods:
        endpoints.set_pod(one)
    return endpoints.refresh()


def test_ready_pods_that_match_are_endpoints() -> None:
    """Only pods that the selector matches, that are Ready and not ending, take traffic."""
    found = table(
        service(),
        pod("a", "10.0.0.1", app="web", extra="x"),
        pod("b", "10.0.0.2", app="other"),
        pod("c", "10.0.0.3", ready="False", app="web"),
        pod("ending", "10.0.0.4", app="web"),
    )

    assert found == {CLUSTER_IP: (Endpoint("10.0.0.1", 80),)}


def test_every_label_of_the_selector_counts() -> None:
    """A pod has to match all of the selector."""
    both = service(selector={"app": "web", "tier": "front"})

    found = table(both, pod("a", app="web"), pod("b", "10.0.0.2", app="web", tier="front"))

    assert found[CLUSTER_IP] == (Endpoint("10.0.0.2", 80),)


def test_pods_of_other_namespaces_do_not_count() -> None:
    """A Service selects in its own namespace."""
    assert table(service(namespace="other"), pod("a", app="web")) == {CLUSTER_IP: ()}


def test_a_service_without_selector_has_no_endpoints() -> None:
    """No selector selects nothing."""
    assert table(service(selector={}), pod("a", app="web")) == {CLUSTER_IP: ()}


@pytest.mark.parametrize(("target", "port"), [(9000, 9000), ("http", 8080)])
def test_target_ports(target: Any, port: int) -> None:
    """A targetPort is a number, or a name that each pod resolves."""
    found = table(service(target), pod("a", app="web"))

    assert found[CLUSTER_IP] == (Endpoint("10.0.0.1", port),)


def test_a_name_that_no_pod_knows() -> None:
    """A pod without a port of that name is no endpoint."""
    assert table(service("grpc"), pod("a", app="web")) == {CLUSTER_IP: ()}


def test_node_ports_and_headless_services() -> None:
    """A NodePort is a front without an address; a headless Service has none at all."""
    ports = [{"port": 80, "nodePort": 30080}]

    with_port = table(service(ports=ports), pod("a", app="web"))

    assert with_port[Front("", "TCP", 30080)] == with_port[CLUSTER_IP]
    assert table(service(clusterIP="None"), pod("a", app="web")) == {}


def test_changes_are_followed() -> None:
    """Pods that come, change labels, become unready or go change the table."""
    endpoints = Endpoints()
    endpoints.set_service(service())
    endpoints.set_pod(pod("a", app="web"))
    assert endpoints.refresh()[CLUSTER_IP] == (Endpoint("10.0.0.1", 80),)

    endpoints.set_pod(pod("a", app="other"))
    assert endpoints.refresh()[CLUSTER_IP] == ()

    endpoints.set_pod(pod("a", app="web"))
    endpoints.set_pod(pod("a", ready="False", app="web"))
    assert endpoints.refresh()[CLUSTER_IP] == ()

    endpoints.set_pod(pod("a", app="web"))
    endpoints.drop_pod(pod("a", app="web"))
    assert endpoints.refresh()[CLUSTER_IP] == ()

    endpoints.drop_service(service())
    assert endpoints.refresh() == {}


def test_what_does_not_matter_makes_no_work() -> None:
    """A pod's change that endpoints do not depend on leaves nothing to do."""
    endpoints = Endpoints()
    endpoints.set_service(service())
    endpoints.set_pod(pod("a", app="web"))
    endpoints.refresh()

    same = pod("a", app="web")
    same["metadata"]["annotations"] = {"note": "x"}
    endpoints.set_pod(same)
    endpoints.set_pod(pod("b", app="unrelated"))

    assert not endpoints.dirty


ONE: Table = {CLUSTER_IP: (Endpoint("10.0.0.1", 80),)}
TWO: Table = {CLUSTER_IP: (Endpoint("10.0.0.1", 80), Endpoint("10.0.0.2", 80))}


def test_equal_tables_need_no_change() -> None:
    """Nothing to do is nothing to send."""
    assert not change(TWO, dict(TWO))


def test_a_second_endpoint_changes_only_what_it_must() -> None:
    """The first endpoint's element stays; the front moves to the chain for two."""
    difference = change(ONE, TWO)

    assert difference.gone == (Element(4, "services", "10.96.0.1 . tcp . 80"),)
    assert dict(difference.come) == {
        Element(4, "services", "10.96.0.1 . tcp . 80"): "goto tcp_2",
        Element(4, "tcp_endpoints", "10.96.0.1 . 80 . 1"): "10.0.0.2 . 80",
        Element(4, "hairpin", "10.0.0.2 . 10.0.0.2"): "",
    }


def test_the_last_endpoint_takes_the_front_along() -> None:
    """A front without endpoints has no element: its packets are rejected."""
    difference = change(ONE, {CLUSTER_IP: ()})

    emptied = {element.container for element in difference.gone}
    assert emptied == {"services", "tcp_endpoints", "hairpin"}
    assert difference.come == ()


def test_a_service_without_a_selector_has_what_its_slices_say() -> None:
    """The API server's own Service: ready addresses of its slices, at the port of that name."""
    svc = service(ports=[{"name": "https", "port": 443, "targetPort": 6443}])
    del svc["spec"]["selector"]
    one = {
        "metadata": {
            "uid": "e",
            "name": "s",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "s"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": 6443}, {"name": "other", "port": 1}],
        "endpoints": [
            {"addresses": ["172.20.0.2"]},
            {"addresses": ["172.20.0.3"], "conditions": {"ready": False}},
        ],
    }
    endpoints = Endpoints()
    endpoints.set_service(svc)
    front = Front("10.96.0.1", "TCP", 443)
    assert endpoints.refresh() == {front: ()}

    endpoints.set_slice(one)
    assert endpoints.dirty
    assert endpoints.refresh() == {front: (Endpoint("172.20.0.2", 6443),)}

    endpoints.drop_slice(one)
    assert endpoints.refresh() == {front: ()}


DUAL = {
    "clusterIP": "10.96.0.1",
    "clusterIPs": ["10.96.0.1", "fd00:10:96::1"],
    "ipFamilies": ["IPv4", "IPv6"],
}


def test_each_family_has_a_front_and_endpoints_of_its_own() -> None:
    """A dual Service leads each family to the pods' addresses of that family."""
    endpoints = Endpoints()
    one = pod("a", "10.0.0.1", app="web")
    one["status"]["podIPs"] = [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]
    both = service()
    both["spec"] |= DUAL
    both["spec"]["ports"][0]["nodePort"] = 30080
    endpoints.set_pod(one)
    endpoints.set_service(both)

    assert endpoints.refresh() == {
        CLUSTER_IP: (Endpoint("10.0.0.1", 80),),
        Front("fd00:10:96::1", "TCP", 80, 6): (Endpoint("fd00::1", 80),),
        Front("", "TCP", 30080): (Endpoint("10.0.0.1", 80),),
        Front("", "TCP", 30080, 6): (Endpoint("fd00::1", 80),),
    }
