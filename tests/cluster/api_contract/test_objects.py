"""Objects: created, read, replaced, patched and deleted as Kubernetes does it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.api_contract.objects import (
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    pod,
    pods,
    policies,
    policy,
    service,
    services,
)
from tests.cluster.api_contract.servers import Api


async def test_a_created_object_has_what_the_server_gives(api: Api, namespace: str) -> None:
    """uid, time, version and namespace are the server's to set."""
    answer = await api("POST", pods(namespace), pod("a", labels={"app": "web"}, uid="mine"))

    assert answer.code == 201
    metadata = answer.body["metadata"]
    assert metadata["namespace"] == namespace
    assert metadata["labels"] == {"app": "web"}
    assert metadata["uid"] != "mine"
    assert metadata["creationTimestamp"].endswith("Z")
    assert (await api("GET", pods(namespace, "a"))).body == answer.body


async def test_a_name_can_be_made_by_the_server(api: Api, namespace: str) -> None:
    """GenerateName is a prefix; two objects get two names."""
    body = pod("", generateName="web-")
    first = await api("POST", pods(namespace), body)
    second = await api("POST", pods(namespace), body)

    names = {answer.body["metadata"]["name"] for answer in (first, second)}
    assert len(names) == 2
    assert all(name.startswith("web-") for name in names)


async def test_an_object_is_created_once(api: Api, namespace: str) -> None:
    """A second one of the same name is refused, naming it."""
    await api("POST", pods(namespace), pod("a"))

    answer = await api("POST", pods(namespace), pod("a"))

    assert (answer.code, answer.reason) == (409, "AlreadyExists")
    assert answer.body["message"] == 'pods "a" already exists'


async def test_what_is_not_there_is_not_found(api: Api, namespace: str) -> None:
    """Reading, changing and deleting say the same, for objects and for their namespace."""
    answers = [
        await api("GET", pods(namespace, "a")),
        await api("PUT", pods(namespace, "a"), pod("a")),
        await api("PATCH", pods(namespace, "a"), {}, MERGE),
        await api("DELETE", pods(namespace, "a")),
        await api("POST", pods("no-such-namespace"), pod("a")),
    ]

    assert [(a.code, a.reason) for a in answers] == [(404, "NotFound")] * 5
    details = answers[0].body["details"]
    assert (details["name"], details["kind"]) == ("a", "pods")


@pytest.mark.parametrize(
    "body",
    [
        pod("a") | {"kind": "Service"},
        pod("a") | {"apiVersion": "v2"},
        pod("a", namespace="elsewhere"),
        pod("a", labels={"app": 1}),
        pod("a") | {"spec": "nginx"},
        ["pod"],
    ],
)
async def test_a_body_that_is_not_the_object_is_a_bad_request(
    api: Api, namespace: str, body: Any
) -> None:
    """What cannot be read as the object of the path is refused, not guessed at."""
    answer = await api("POST", pods(namespace), body)

    assert (answer.code, answer.reason) == (400, "BadRequest")
    assert (await api("GET", pods(namespace))).names == []


async def test_a_new_object_has_no_version_yet(api: Api, namespace: str) -> None:
    """Whoever brings one means to update; Kubernetes answers 500 and gives no reason."""
    answer = await api("POST", pods(namespace), pod("a", resourceVersion="1"))

    assert answer.code == 500
    assert "reason" not in answer.body
    assert answer.body["message"] == "resourceVersion should not be set on objects to be created"


async def test_every_mistake_is_told_at_once(api: Api, namespace: str) -> None:
    """One answer names each wrong field."""
    wrong = policy(
        "Not_A_Name",
        podSelector={"matchExpressions": [{"key": "app", "operator": "Like", "values": ["x"]}]},
        ingress=[
            {
                "from": [{"ipBlock": {"cidr": "14.215.0.0/33"}}, {}],
                "ports": [{"protocol": "ICMP", "port": 80}, {"port": 70_000}],
            },
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]},
            {"ports": [{"port": 100, "endPort": 99}, {"port": "http", "endPort": 100}]},
        ],
        policyTypes=["Ingres"],
    )

    answer = await api("POST", policies(namespace), wrong)

    assert (answer.code, answer.reason) == (422, "Invalid")
    fields = {cause["field"] for cause in answer.body["details"]["causes"]}
    assert fields >= {
        "metadata.name",
        "spec.podSelector.matchExpressions[0].operator",
        "spec.ingress[0].from[0].ipBlock.cidr",
        "spec.ingress[0].from[1]",
        "spec.ingress[0].ports[0].protocol",
        "spec.ingress[0].ports[1].port",
        "spec.ingress[1].from[0].ipBlock.except[0]",
        "spec.ingress[2].ports[0].endPort",
        "spec.ingress[2].ports[1].endPort",
        "spec.policyTypes[0]",
    }
    assert (await api("GET", policies(namespace))).names == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"containers": []}, "spec.containers"),
        ({"containers": [{"name": "a"}]}, "spec.containers[0].image"),
        ({"containers": [{"name": "A", "image": "x"}]}, "spec.containers[0].name"),
        ({"restartPolicy": "Sometimes"}, "spec.restartPolicy"),
        (
            {"containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 0}]}]},
            "spec.containers[0].ports[0].containerPort",
        ),
    ],
)
async def test_a_wrong_pod_is_refused_by_field(
    api: Api, namespace: str, change: Any, field: str
) -> None:
    """The field that is wrong is named."""
    wrong = pod("a")
    wrong["spec"] |= change

    answer = await api("POST", pods(namespace), wrong)

    assert (answer.code, answer.reason) == (422, "Invalid")
    assert field in {cause["field"] for cause in answer.body["details"]["causes"]}


async def test_a_policy_gets_the_defaults_of_kubernetes(api: Api, namespace: str) -> None:
    """Protocol TCP; type Egress only where there are egress rules."""
    ports = [{"port": 80}]
    one = await api("POST", policies(namespace), policy("one", ingress=[{"ports": ports}]))
    two = await api("POST", policies(namespace), policy("two", egress=[{"ports": ports}]))

    assert one.body["spec"]["policyTypes"] == ["Ingress"]
    assert one.body["spec"]["ingress"] == [{"ports": [{"port": 80, "protocol": "TCP"}]}]
    assert two.body["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert one.body["metadata"]["generation"] == 1


async def test_a_namespace_carries_its_name_as_a_label(api: Api, namespace: str) -> None:
    """Namespace selectors by name need kubernetes.io/metadata.name."""
    path = f"/api/v1/namespaces/{namespace}"
    found = await api("GET", path)
    changed = await api("PATCH", path, {"metadata": {"labels": {"app": "nsb"}}}, MERGE)

    assert found.body["metadata"]["labels"] == {"kubernetes.io/metadata.name": namespace}
    assert changed.body["metadata"]["labels"]["kubernetes.io/metadata.name"] == namespace


async def test_a_replace_of_an_older_version_is_a_conflict(api: Api, namespace: str) -> None:
    """Two writers that read the same version: the second is told."""
    await api("POST", policies(namespace), policy("p"))
    first = (await api("GET", policies(namespace, "p"))).body
    second = (await api("GET", policies(namespace, "p"))).body
    first["metadata"]["labels"] = {"writer": "first"}
    second["metadata"]["labels"] = {"writer": "second"}

    won = await api("PUT", policies(namespace, "p"), first)
    lost = await api("PUT", policies(namespace, "p"), second)

    assert won.code == 200
    assert (lost.code, lost.reason) == (409, "Conflict")
    found = await api("GET", policies(namespace, "p"))
    assert found.body["metadata"]["labels"] == {"writer": "first"}


async def test_a_replace_without_a_version_overwrites(api: Api, namespace: str) -> None:
    """Identity stays; a changed spec counts as a new generation, and the same one as none."""
    made = await api("POST", policies(namespace), policy("p"))

    changed = await api("PUT", policies(namespace, "p"), policy("p", ingress=[{}]))
    same = await api("PUT", policies(namespace, "p"), policy("p", ingress=[{}]))

    assert changed.body["metadata"]["uid"] == made.body["metadata"]["uid"]
    assert changed.body["metadata"]["generation"] == 2
    assert int(changed.version) > int(made.version)
    assert same.version == changed.version


async def test_the_status_is_written_apart(api: Api, namespace: str) -> None:
    """/status changes the status alone; the object's own path changes all but the status."""
    made = (await api("POST", pods(namespace), pod("a"))).body
    assert made["status"]["phase"] == "Pending"

    running = made | {"status": {"phase": "Running", "podIP": "10.0.0.1"}}
    running["spec"] = made["spec"] | {"nodeName": "another"}
    await api("PUT", pods(namespace, "a", "status"), running)
    body = {"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Failed"}}
    await api("PATCH", pods(namespace, "a"), body, MERGE)

    found = (await api("GET", pods(namespace, "a"))).body
    assert found["status"]["phase"] == "Running"
    assert found["spec"]["nodeName"] == "node-of-nobody"
    assert found["metadata"]["labels"] == {"a": "b"}


async def test_a_merge_patch_removes_with_null(api: Api, namespace: str) -> None:
    """As kubectl label KEY- does it."""
    await api("POST", pods(namespace), pod("a", labels={"app": "web", "tier": "front"}))

    body = {"metadata": {"labels": {"app": None, "new": "x"}}}
    answer = await api("PATCH", pods(namespace, "a"), body, MERGE)

    assert answer.body["metadata"]["labels"] == {"tier": "front", "new": "x"}


async def test_a_json_patch_is_all_or_nothing(api: Api, namespace: str) -> None:
    """When its test fails, its other operations have not happened either."""
    await api("POST", pods(namespace), pod("a", labels={"app": "web"}))
    add = {"op": "add", "path": "/metadata/labels/new", "value": "x"}

    good = await api("PATCH", pods(namespace, "a"), [add], JSON_PATCH)
    test = {"op": "test", "path": "/metadata/labels/app", "value": "db"}
    remove = {"op": "remove", "path": "/metadata/labels/new"}
    bad = await api("PATCH", pods(namespace, "a"), [remove, test], JSON_PATCH)

    assert good.body["metadata"]["labels"] == {"app": "web", "new": "x"}
    assert (bad.code, bad.reason) == (422, "Invalid")
    assert (await api("GET", pods(namespace, "a"))).body == good.body


async def test_a_strategic_patch_of_labels_merges(api: Api, namespace: str) -> None:
    """Where it has no lists it means what a merge patch means."""
    await api("POST", pods(namespace), pod("a", labels={"app": "web"}))

    body = {"metadata": {"labels": {"new": "x"}}}
    answer = await api("PATCH", pods(namespace, "a"), body, STRATEGIC)

    assert answer.body["metadata"]["labels"] == {"app": "web", "new": "x"}


async def test_a_patch_with_an_old_version_is_a_conflict(api: Api, namespace: str) -> None:
    """A patch may say which version it is meant for."""
    made = await api("POST", pods(namespace), pod("a"))
    await api("PATCH", pods(namespace, "a"), {"metadata": {"labels": {"a": "b"}}}, MERGE)

    body = {"metadata": {"resourceVersion": made.version, "labels": {"a": "c"}}}
    answer = await api("PATCH", pods(namespace, "a"), body, MERGE)

    assert (answer.code, answer.reason) == (409, "Conflict")


async def test_the_spec_of_a_pod_stays(api: Api, namespace: str) -> None:
    """A pod does not move to another node; its image may change."""
    await api("POST", pods(namespace), pod("a"))

    moved = await api("PATCH", pods(namespace, "a"), {"spec": {"nodeName": "other"}}, MERGE)
    change = {"op": "replace", "path": "/spec/containers/0/image", "value": "nginx:2"}
    renewed = await api("PATCH", pods(namespace, "a"), [change], JSON_PATCH)

    assert (moved.code, moved.reason) == (422, "Invalid")
    assert renewed.body["spec"]["containers"][0]["image"] == "nginx:2"


async def test_a_deleted_object_is_gone(api: Api, namespace: str) -> None:
    """And its name can be used again, for another object."""
    made = await api("POST", policies(namespace), policy("p"))
    answer = await api("DELETE", policies(namespace, "p"))
    gone = await api("GET", policies(namespace, "p"))
    again = await api("POST", policies(namespace), policy("p"))

    assert answer.code == 200
    assert gone.code == 404
    assert again.body["metadata"]["uid"] != made.body["metadata"]["uid"]


async def test_a_deletion_may_name_the_object_it_means(api: Api, namespace: str) -> None:
    """A precondition that does not hold leaves the object."""
    made = await api("POST", policies(namespace), policy("p"))

    wrong = await api("DELETE", policies(namespace, "p"), {"preconditions": {"uid": "of-another"}})
    uid = made.body["metadata"]["uid"]
    right = await api("DELETE", policies(namespace, "p"), {"preconditions": {"uid": uid}})

    assert (wrong.code, wrong.reason) == (409, "Conflict")
    assert right.code == 200


async def test_a_pod_on_a_node_ends_when_its_kubelet_says_so(api: Api, namespace: str) -> None:
    """Deleting marks it, with its grace period; deleting with none removes it."""
    await api("POST", pods(namespace), pod("a"))

    marked = await api("DELETE", pods(namespace, "a"))
    found = await api("GET", pods(namespace, "a"))
    await api("DELETE", pods(namespace, "a"), gracePeriodSeconds="0")
    gone = await api("GET", pods(namespace, "a"))

    assert marked.code == 200
    assert found.body["metadata"]["deletionGracePeriodSeconds"] == 7
    assert "deletionTimestamp" in found.body["metadata"]
    assert gone.code == 404


async def test_a_grace_period_may_be_shortened(api: Api, namespace: str) -> None:
    """The query or the body says how long; a longer one than before changes nothing."""
    await api("POST", pods(namespace), pod("a"))
    await api("DELETE", pods(namespace, "a"), {"gracePeriodSeconds": 5})
    await api("DELETE", pods(namespace, "a"), {"gracePeriodSeconds": 60})

    found = await api("GET", pods(namespace, "a"))

    assert found.body["metadata"]["deletionGracePeriodSeconds"] == 5


async def test_a_pod_that_has_ended_is_deleted_at_once(api: Api, namespace: str) -> None:
    """No kubelet has anything left to do for it."""
    await api("POST", pods(namespace), pod("a"))
    await api("PATCH", pods(namespace, "a", "status"), {"status": {"phase": "Succeeded"}}, MERGE)

    await api("DELETE", pods(namespace, "a"))

    assert (await api("GET", pods(namespace, "a"))).code == 404


async def test_a_finalizer_holds_an_object_back(api: Api, namespace: str) -> None:
    """It is gone when the last finalizer is."""
    held = policy("p")
    held["metadata"]["finalizers"] = ["example.com/wait"]
    await api("POST", policies(namespace), held)

    await api("DELETE", policies(namespace, "p"))
    waiting = await api("GET", policies(namespace, "p"))
    await api("PATCH", policies(namespace, "p"), {"metadata": {"finalizers": None}}, MERGE)

    assert "deletionTimestamp" in waiting.body["metadata"]
    assert (await api("GET", policies(namespace, "p"))).code == 404


async def test_a_collection_is_deleted_by_selector(api: Api, namespace: str) -> None:
    """What is not selected stays."""
    for name, app in (("a", "web"), ("b", "web"), ("c", "db")):
        made = policy(name)
        made["metadata"]["labels"] = {"app": app}
        await api("POST", policies(namespace), made)

    answer = await api("DELETE", policies(namespace), labelSelector="app=web")

    assert answer.code == 200
    assert (await api("GET", policies(namespace))).names == ["c"]


async def test_a_service_gets_an_address_and_ports(api: Api, namespace: str) -> None:
    """An address of its own, a NodePort where asked, and a target port."""
    plain = (await api("POST", services(namespace), service("a"))).body["spec"]
    open_ = (await api("POST", services(namespace), service("b", "NodePort"))).body["spec"]
    headless = service("c", clusterIP="None")
    without = (await api("POST", services(namespace), headless)).body["spec"]

    assert plain["clusterIP"] != open_["clusterIP"]
    assert plain["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert 30_000 <= open_["ports"][0]["nodePort"] <= 32_767
    assert without["clusterIP"] == "None"


async def test_an_address_that_is_taken_is_refused(api: Api, namespace: str) -> None:
    """The address and the NodePort of another service, and one outside of the range."""
    made = (await api("POST", services(namespace), service("a", "NodePort"))).body["spec"]
    port = made["ports"][0]["nodePort"]

    answers = [
        await api("POST", services(namespace), service("b", clusterIP=made["clusterIP"])),
        await api("POST", services(namespace), service("b", clusterIP="203.0.113.1")),
        await api(
            "POST",
            services(namespace),
            service("b", "NodePort", ports=[{"port": 80, "nodePort": port}]),
        ),
    ]

    assert [(a.code, a.reason) for a in answers] == [(422, "Invalid")] * 3
    assert (await api("GET", services(namespace))).names == ["a"]


async def test_a_service_keeps_its_address_when_it_is_replaced(api: Api, namespace: str) -> None:
    """A manifest without address and NodePort does not lose them; another address is refused."""
    made = await api("POST", services(namespace), service("a", "NodePort"))

    kept = await api("PUT", services(namespace, "a"), service("a", "NodePort"))
    refused = await api(
        "PATCH", services(namespace, "a"), {"spec": {"clusterIP": "203.0.113.1"}}, MERGE
    )

    assert kept.body["spec"]["clusterIP"] == made.body["spec"]["clusterIP"]
    assert kept.body["spec"]["ports"] == made.body["spec"]["ports"]
    assert refused.code == 422


async def test_the_address_of_a_deleted_service_is_free(api: Api, namespace: str) -> None:
    """Another service may ask for it."""
    made = (await api("POST", services(namespace), service("a"))).body["spec"]
    await api("DELETE", services(namespace, "a"))

    again = await api("POST", services(namespace), service("b", clusterIP=made["clusterIP"]))

    assert again.code == 201


async def test_events_and_leases_are_served(api: Api, namespace: str) -> None:
    """What a kubelet and an enforcer write."""
    event = {
        "metadata": {"generateName": "web."},
        "involvedObject": {"kind": "Pod", "name": "web", "namespace": namespace},
        "reason": "Started",
        "type": "Normal",
    }
    lease = {"metadata": {"name": "node-1"}, "spec": {"holderIdentity": "node-1"}}
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    made = await api("POST", f"/api/v1/namespaces/{namespace}/events", event)
    held = await api("POST", path, lease)
    found = await api(
        "GET", f"/api/v1/namespaces/{namespace}/events", fieldSelector="involvedObject.name=web"
    )

    assert (made.code, held.code) == (201, 201)
    assert len(found.names) == 1
