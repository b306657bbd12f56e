"""What waiting for Services says when it ends in vain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from harness.clusters.base import Completed, Manifest
from harness.clusters.kube.agents import Agents
from harness.clusters.kube.proxies import Proxying
from harness.clusters.kube.readiness import Readiness
from harness.clusters.objects import Objects
from harness.errors import ClusterError

NODES = ("one", "two")


class Known(Objects):
    """One Service, and slices that name these addresses; there are no pods."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = addresses

    def get(self, path: str) -> Any:
        meta: Manifest = {"namespace": "x", "name": "s"}
        match path.rpartition("/")[2]:
            case "services":
                return {"items": [{"metadata": meta, "spec": {"selector": {"app": "a"}}}]}
            case "endpointslices":
                labels = {"kubernetes.io/service-name": "s"}
                slices = {
                    "metadata": meta | {"labels": labels},
                    "endpoints": [{"addresses": list(self.addresses)}],
                }
                return {"items": [slices]}
            case _:
                return {"items": []}


class Said(Agents):
    """Agents by which each node's kube-proxy says how far it is."""

    def __init__(self, proxies: dict[str, Proxying]) -> None:
        self.proxies = proxies

    def run(self, node: str, argv: Sequence[str], timeout: float = 60.0) -> Completed:
        del timeout
        return Completed(tuple(argv), 0, self.proxies[node].value, "")


def waited(addresses: Sequence[str], second: Proxying) -> None:
    """Wait no time at all, with the second node's kube-proxy this far."""
    agents = Said({"one": Proxying.IDLE, "two": second})
    Readiness(Known(addresses), agents, NODES, lambda *_: None).wait(None, -1)


def test_a_kube_proxy_that_does_not_follow_is_named() -> None:
    """The node, so that one knows whose log to read."""
    with pytest.raises(ClusterError, match=r"kube-proxy has not followed on two$"):
        waited((), Proxying.BUSY)


def test_slices_that_do_not_follow_are_named() -> None:
    """The Service, with its namespace."""
    with pytest.raises(ClusterError, match=r"do not name the ready pods of x/s$"):
        waited(("10.1.0.9",), Proxying.IDLE)


def test_where_all_have_followed_nobody_is_waited_for() -> None:
    """Also when the time is over: what is there counts."""
    waited((), Proxying.IDLE)
