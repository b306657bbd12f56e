"""Lists: selected, in pages, and as tables; and what is there to be listed."""

from __future__ import annotations

import json
import urllib.request

import pytest

from tests.cluster.api_contract.objects import leases
from tests.cluster.api_contract.servers import Answer, Api, ControlPlane

PROTOBUF_OR_JSON = "application/vnd.kubernetes.protobuf,application/json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


async def make(api: Api, namespace: str, name: str, **labels: str) -> None:
    """Make a lease."""
    body = {"metadata": {"name": name, "labels": labels}}
    answer = await api("POST", leases(namespace), body)
    assert answer.code == 201


def continuing(page: Answer) -> dict[str, str]:
    """Return the option that asks for the page after this one."""
    return {"continue": page.body["metadata"]["continue"]}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["a", "b", "c"]),
        ({"labelSelector": "app=web"}, ["a", "b"]),
        ({"labelSelector": "app=web,tier!=front"}, ["b"]),
        ({"labelSelector": "app in (db,cache)"}, ["c"]),
        ({"labelSelector": "!tier"}, ["b", "c"]),
        ({"fieldSelector": "metadata.name=b"}, ["b"]),
        ({"fieldSelector": "metadata.name!=b", "labelSelector": "app"}, ["a", "c"]),
    ],
)
async def test_a_list_holds_what_is_selected(
    api: Api, namespace: str, query: dict[str, str], expected: list[str]
) -> None:
    """Labels and fields select together."""
    await make(api, namespace, "a", app="web", tier="front")
    await make(api, namespace, "b", app="web")
    await make(api, namespace, "c", app="db")

    answer = await api("GET", leases(namespace), **query)

    assert answer.body["kind"] == "LeaseList"
    assert answer.names == expected


@pytest.mark.parametrize(
    "query", [{"labelSelector": "app in web"}, {"fieldSelector": "spec.holderIdentity=x"}]
)
async def test_a_selector_that_is_not_understood_is_refused(
    api: Api, namespace: str, query: dict[str, str]
) -> None:
    """It would otherwise select everything."""
    answer = await api("GET", leases(namespace), **query)

    assert (answer.code, answer.reason) == (400, "BadRequest")


async def test_a_list_without_a_namespace_is_of_all_namespaces(api: Api, namespace: str) -> None:
    """And can be narrowed to one by a field."""
    await make(api, namespace, "a")

    everywhere = await api("GET", "/apis/coordination.k8s.io/v1/leases")
    here = await api(
        "GET",
        "/apis/coordination.k8s.io/v1/leases",
        fieldSelector=f"metadata.namespace={namespace}",
    )

    found = {item["metadata"]["namespace"] for item in everywhere.body["items"]}
    assert namespace in found
    assert here.names == ["a"]


async def test_the_pages_of_a_list_are_one_list(api: Api, namespace: str) -> None:
    """What is made between two pages is in neither, and all carry the version of the first."""
    for name in "abcde":
        await make(api, namespace, name)

    first = await api("GET", leases(namespace), limit="2")
    await make(api, namespace, "bb")
    second = await api("GET", leases(namespace), limit="2", **continuing(first))
    third = await api("GET", leases(namespace), limit="2", **continuing(second))

    assert [first.names, second.names, third.names] == [["a", "b"], ["c", "d"], ["e"]]
    assert first.body["metadata"]["remainingItemCount"] == 3
    assert {first.version, second.version, third.version} == {first.version}
    assert "continue" not in third.body["metadata"]


async def test_a_page_that_is_all_has_no_next(api: Api, namespace: str) -> None:
    """A limit that is not reached changes nothing."""
    await make(api, namespace, "a")

    answer = await api("GET", leases(namespace), limit="500")

    assert answer.names == ["a"]
    assert "continue" not in answer.body["metadata"]


async def test_a_broken_continue_token_is_refused(api: Api, namespace: str) -> None:
    """It must not begin a list from somewhere."""
    answer = await api("GET", leases(namespace), **{"limit": "1", "continue": "nonsense"})

    assert (answer.code, answer.reason) == (400, "BadRequest")


async def test_kubectl_gets_a_table(api: Api, namespace: str) -> None:
    """Cells fit the columns, and each row carries the metadata that kubectl needs."""
    await make(api, namespace, "a", app="web")

    code, media, body = await api.get_as(leases(namespace), TABLE)
    table = json.loads(body)

    assert (code, media, table["kind"]) == (200, "application/json", "Table")
    (row,) = table["rows"]
    cells = dict(zip([c["name"] for c in table["columnDefinitions"]], row["cells"], strict=True))
    assert cells["Name"] == "a"
    assert row["object"]["metadata"]["labels"] == {"app": "web"}


async def test_a_form_that_nobody_has_is_not_acceptable(api: Api, namespace: str) -> None:
    """The client learns that it asked for the wrong thing."""
    code, _, _ = await api.get_as(leases(namespace), "text/html")

    assert code == 406


async def test_the_version_has_plain_digits(api: Api) -> None:
    """Enforcers have read "10+" as no version at all."""
    answer = await api("GET", "/version")

    assert answer.body["major"].isdecimal()
    assert answer.body["minor"].isdecimal()
    assert answer.body["gitVersion"].startswith(f"v{answer.body['major']}.{answer.body['minor']}.")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("/api/v1", {"pods", "pods/status", "services", "namespaces", "nodes", "endpoints"}),
        ("/apis/networking.k8s.io/v1", {"networkpolicies"}),
        ("/apis/coordination.k8s.io/v1", {"leases"}),
        ("/apis/discovery.k8s.io/v1", {"endpointslices"}),
    ],
)
async def test_what_is_served_can_be_discovered(api: Api, where: str, expected: set[str]) -> None:
    """Clients learn resources and verbs from the server."""
    found = (await api("GET", where)).body["resources"]
    names = {resource["name"]: resource["verbs"] for resource in found}

    assert names.keys() >= expected
    assert "watch" in names[min(expected)]
    groups = {group["name"] for group in (await api("GET", "/apis")).body["groups"]}
    assert where == "/api/v1" or where.split("/")[2] in groups


def test_a_server_that_is_ready_says_so(control_plane: ControlPlane) -> None:
    """Plain text, for probes."""
    with urllib.request.urlopen(  # noqa: S310
        f"{control_plane.url}/readyz", context=control_plane.tls
    ) as response:
        assert response.read() == b"ok"
