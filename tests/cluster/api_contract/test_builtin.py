"""What the builtin control plane does beyond an API server, and what it refuses by name."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.cluster.api_contract.objects import (
    MERGE,
    config_maps,
    pod,
    pods,
    policies,
    policy,
    service,
    services,
)
from tests.cluster.api_contract.servers import SECONDS, Api, ControlPlane, connect

pytestmark = pytest.mark.parametrize("control_plane", ["builtin"], indirect=True, scope="session")


@pytest.fixture(autouse=True)
def builtin_only(control_plane: ControlPlane) -> None:
    """These are about one control plane, not about the contract."""
    assert control_plane.kind == "builtin"


def unbound(name: str, **spec: Any) -> dict[str, Any]:
    """Return a pod that wants to be scheduled."""
    body = pod(name)
    del body["spec"]["nodeName"]
    body["spec"] |= spec
    return body


async def make_node(api: Api, name: str, room: int, ready: str = "True", **labels: str) -> None:
    """Make a node with room for so many pods."""
    status = {
        "allocatable": {"pods": str(room)},
        "conditions": [{"type": "Ready", "status": ready}],
    }
    body = {"metadata": {"name": name, "labels": labels}, "status": status}
    answer = await api("POST", "/api/v1/nodes", body)
    assert answer.code == 201


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/apis/apps/v1/deployments"),
        ("GET", "/apis/extensions/v1beta1/networkpolicies"),
        ("GET", "/api/v1/secrets"),
        ("GET", "/openapi/v2"),
        ("GET", "/api/v1/namespaces/default/pods/a/log"),
        ("POST", "/api/v1/namespaces/default/pods/a/binding"),
        ("POST", "/api/v1/namespaces/default/resourcequotas"),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
        ("GET", "/api/v1/watch/pods"),
    ],
)
async def test_what_is_not_served_is_refused_by_name(api: Api, method: str, path: str) -> None:
    """501 and a sentence that names it, never an empty list."""
    answer = await api(method, path, {} if method == "POST" else None)

    assert (answer.code, answer.reason) == (501, "NotImplemented")
    assert "does not serve" in answer.body["message"]
    named = [part for part in path.split("/") if part in answer.body["message"]]
    assert named


async def test_a_write_that_would_be_something_else_is_refused(api: Api, namespace: str) -> None:
    """A dry run must not write; other patches and bodies are not guessed at."""
    dry = await api("POST", pods(namespace), pod("a"), dryRun="All")
    apply = await api("PATCH", pods(namespace, "a"), {}, "application/apply-patch+yaml")
    body = {"spec": {"containers": [{"name": "nginx", "image": "x"}]}}
    strategic = await api(
        "PATCH", pods(namespace, "a"), body, "application/strategic-merge-patch+json"
    )
    protobuf = await api("POST", pods(namespace), {}, "application/vnd.kubernetes.protobuf")

    assert [a.code for a in (dry, apply, strategic, protobuf)] == [501, 415, 415, 415]
    assert "apply-patch" in apply.body["message"]
    assert (await api("GET", pods(namespace))).names == []


async def test_a_client_that_prefers_protobuf_gets_json(api: Api, namespace: str) -> None:
    """As client-go asks; one that accepts nothing else is refused."""
    accepted = "application/vnd.kubernetes.protobuf"
    both = await api.get_as(pods(namespace), f"{accepted},application/json")
    only = await api.get_as(pods(namespace), accepted)

    assert both[:2] == (200, "application/json")
    assert only[0] == 406


async def test_a_forgotten_version_is_gone(small_history: ControlPlane) -> None:
    """The watch says 410 and ends; a list is possible, and a watch from there."""
    path = config_maps("default")
    async with connect(small_history.url) as api:
        old = (await api("GET", path)).version
        for number in range(60):
            await api("POST", path, {"metadata": {"name": f"c{number}"}})

        async with api.watch(path, resourceVersion=old) as watch:
            kind, status = await watch.next()
            assert await watch.ended()
        listed = await api("GET", path)
        async with api.watch(path, resourceVersion=listed.version) as watch:
            await api("DELETE", config_maps("default", "c0"))
            event, _ = await watch.next()

    assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")
    assert len(listed.names) == 60
    assert event == "DELETED"


async def test_a_watch_that_falls_behind_is_told(small_history: ControlPlane) -> None:
    """Changes that the server forgot before a slow client read them end the watch with 410."""
    path = config_maps("default")
    async with connect(small_history.url) as api:
        listed = await api("GET", path)
        async with api.watch(path, resourceVersion=listed.version) as watch:
            large = {"key": "x" * 500_000}
            for number in range(100):
                await api("POST", path, {"metadata": {"name": f"c{number}"}, "data": large})
            events: list[str] = []
            while not events or events[-1] != "ERROR":
                events.append((await watch.next())[0])
            assert await watch.ended()

    assert len(events) < 100


async def test_a_continued_list_is_gone_in_the_end(api: Api, namespace: str) -> None:
    """Its memory is bounded: who comes back too late begins again."""
    for name in "abc":
        await api("POST", config_maps(namespace), {"metadata": {"name": name}})
    lists = [await api("GET", config_maps(namespace), limit="1") for _ in range(80)]
    tokens = [answer.body["metadata"]["continue"] for answer in lists]

    first = await api("GET", config_maps(namespace), **{"continue": tokens[0]})
    last = await api("GET", config_maps(namespace), **{"continue": tokens[-1]})

    assert (first.code, first.reason) == (410, "Expired")
    assert last.names == ["b", "c"]


async def test_a_version_of_an_earlier_server_is_refused(api: Api, namespace: str) -> None:
    """A client that outlived a restart lists again, instead of waiting for the future."""
    query = {"watch": "true", "resourceVersion": "99999999"}
    answer = await api("GET", config_maps(namespace), **query)

    assert answer.code == 504


async def test_bookmarks_tell_how_far_a_quiet_watch_is(api: Api, namespace: str) -> None:
    """The last one comes when the time is over: the next watch begins there."""
    listed = await api("GET", config_maps(namespace))
    query = {"allowWatchBookmarks": "true", "timeoutSeconds": "1"}
    async with api.watch(config_maps(namespace), resourceVersion=listed.version, **query) as watch:
        made = await api("POST", policies(namespace), policy("p"))
        kind, value = await watch.next()

    assert kind == "BOOKMARK"
    assert int(value["metadata"]["resourceVersion"]) >= int(made.version)


async def test_a_deleted_namespace_takes_its_objects_along(api: Api, namespace: str) -> None:
    """Running pods end first; until then it is terminating and takes nothing new."""
    await api("POST", policies(namespace), policy("p"))
    await api("POST", pods(namespace), pod("a"))
    path = f"/api/v1/namespaces/{namespace}"

    deleted = await api("DELETE", path)
    refused = await api("POST", policies(namespace), policy("q"))
    terminating = await api("GET", path)
    await api("DELETE", pods(namespace, "a"), gracePeriodSeconds="0")

    assert deleted.body["status"]["phase"] == "Terminating"
    assert terminating.code == 200
    assert (refused.code, refused.reason) == (403, "Forbidden")
    assert (await api("GET", policies(namespace, "p"))).code == 404
    assert (await api("GET", path)).code == 404


@pytest.mark.parametrize("name", ["default", "kube-system"])
async def test_the_first_namespaces_stay(api: Api, name: str) -> None:
    """A cluster without them is none."""
    answer = await api("DELETE", f"/api/v1/namespaces/{name}")

    assert (answer.code, answer.reason) == (403, "Forbidden")
    assert (await api("GET", f"/api/v1/namespaces/{name}")).code == 200


async def test_pods_are_spread_over_nodes_that_are_ready(small_history: ControlPlane) -> None:
    """Evenly, and never more than a node has room for."""
    async with connect(small_history.url) as api:
        await make_node(api, "n1", room=2)
        await make_node(api, "n2", room=10)
        await make_node(api, "n3", room=10, ready="False")
        for number in range(6):
            await api("POST", pods("default"), unbound(f"p{number}"))
        homes = [(await until_bound(api, pods("default", f"p{number}"))) for number in range(6)]

    assert sorted(homes) == ["n1", "n1", "n2", "n2", "n2", "n2"]


async def until_bound(api: Api, path: str) -> str:
    """Wait until a pod has a node and return it."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        spec = (await api("GET", path)).body["spec"]
        if "nodeName" in spec:
            return str(spec["nodeName"])
        await asyncio.sleep(0.01)
    raise AssertionError(f"{path} was not scheduled")


async def until_unschedulable(api: Api, path: str) -> str:
    """Wait until a pod is said to fit nowhere and return why."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        status = (await api("GET", path)).body["status"]
        for condition in status.get("conditions", ()):
            if (condition["type"], condition["status"]) == ("PodScheduled", "False"):
                return str(condition["message"])
        await asyncio.sleep(0.01)
    raise AssertionError(f"{path} was not tried")


async def test_a_pod_waits_for_room(small_history: ControlPlane) -> None:
    """It says why it waits, and starts as soon as another pod is gone."""
    async with connect(small_history.url) as api:
        await make_node(api, "n1", room=1)
        await api("POST", pods("default"), unbound("a"))
        await until_bound(api, pods("default", "a"))
        await api("POST", pods("default"), unbound("b"))
        why = await until_unschedulable(api, pods("default", "b"))
        await api("DELETE", pods("default", "a"), gracePeriodSeconds="0")
        home = await until_bound(api, pods("default", "b"))

    assert why == "none of 1 nodes is ready, is selected by this pod and has room"
    assert home == "n1"


async def test_a_pod_waits_for_a_node_that_it_selects(small_history: ControlPlane) -> None:
    """A nodeSelector is kept; one that comes later is found."""
    async with connect(small_history.url) as api:
        await make_node(api, "n1", room=10)
        await api("POST", pods("default"), unbound("a", nodeSelector={"disk": "fast"}))
        await until_unschedulable(api, pods("default", "a"))
        await make_node(api, "n2", room=10, disk="fast")
        home = await until_bound(api, pods("default", "a"))

    assert home == "n2"


async def test_a_pod_that_asks_for_more_is_left_pending(small_history: ControlPlane) -> None:
    """Affinity is not served: the pod says so, and is not put anywhere."""
    async with connect(small_history.url) as api:
        await make_node(api, "n1", room=10)
        await api("POST", pods("default"), unbound("a", affinity={"podAffinity": {}}))
        why = await until_unschedulable(api, pods("default", "a"))

    assert "affinity" in why


async def test_a_cordoned_node_gets_no_pods(small_history: ControlPlane) -> None:
    """Until it is open again."""
    async with connect(small_history.url) as api:
        await make_node(api, "n1", room=10)
        node = "/api/v1/nodes/n1"
        await api("PATCH", node, {"spec": {"unschedulable": True}}, MERGE)
        await api("POST", pods("default"), unbound("a"))
        await until_unschedulable(api, pods("default", "a"))
        await api("PATCH", node, {"spec": {"unschedulable": None}}, MERGE)

        assert await until_bound(api, pods("default", "a")) == "n1"


async def test_a_status_of_wrong_types_is_refused(api: Api, namespace: str) -> None:
    """What the scheduler and kubectl's tables read has to be readable."""
    await api("POST", pods(namespace), pod("a"))

    body = {"status": {"conditions": ["Ready"]}}
    answer = await api("PATCH", pods(namespace, "a", "status"), body, MERGE)
    node = {"metadata": {"name": "broken"}, "status": {"allocatable": ["pods"]}}

    assert (answer.code, answer.reason) == (400, "BadRequest")
    assert (await api("POST", "/api/v1/nodes", node)).code == 400


async def test_endpoints_follow_from_services_and_pods(api: Api, namespace: str) -> None:
    """Who reads Endpoints or EndpointSlices sees a Service's pods, ready and not, as they are."""
    for name, address, ready in (("a", "10.9.0.1", "True"), ("b", "10.9.0.2", "False")):
        await api("POST", pods(namespace), pod(name, labels={"app": "web"}))
        conditions = [{"type": "Ready", "status": ready}]
        status = {"phase": "Running", "podIP": address, "conditions": conditions}
        await api("PATCH", pods(namespace, name, "status"), {"status": status}, MERGE)
    for name in ("web", "nobody"):
        await api("POST", services(namespace), service(name, selector={"app": name}))
    core, slices = f"/api/v1/namespaces/{namespace}", "/apis/discovery.k8s.io/v1"

    one = (await api("GET", f"{core}/endpoints/web")).body
    listed = (await api("GET", f"{slices}/namespaces/{namespace}/endpointslices")).body["items"]
    label = "labelSelector=kubernetes.io/service-name%3Dweb"
    (web,) = (await api("GET", f"{slices}/endpointslices?{label}")).body["items"]

    (subset,) = one["subsets"]
    assert [address["ip"] for address in subset["addresses"]] == ["10.9.0.1"]
    assert [address["ip"] for address in subset["notReadyAddresses"]] == ["10.9.0.2"]
    assert subset["ports"] == [{"port": 80, "protocol": "TCP"}]
    assert len(listed) == 2
    seen = {tuple(one["addresses"]): one["conditions"]["ready"] for one in web["endpoints"]}
    assert seen == {("10.9.0.1",): True, ("10.9.0.2",): False}
    await api("DELETE", services(namespace, "web"))
    assert (await api("GET", f"{core}/endpoints/web")).code == 404
