"""The real kube-proxy leads to Services, in each mode that the kernel has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness.clusters import make_embedded
from harness.clusters.base import NodeRef, OutsideRef, PodRef, Probe, Verdict
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.clusters.embedded.settings import Proxy
from harness.doctor.kernel import look_ipvs
from harness.errors import MissingError
from harness.options import settings_from

pytestmark = [pytest.mark.cluster, pytest.mark.optional("@control-plane")]

MODES = (Proxy.KUBE_PROXY_NFTABLES, Proxy.KUBE_PROXY_IPTABLES)


@pytest.fixture(scope="module", params=MODES, ids=lambda proxy: proxy.mode)
def proxied(request: pytest.FixtureRequest, shaped: Any) -> Iterator[EmbeddedCluster]:
    """Yield a cluster with each kind of kube-proxy, with two servers behind a Service."""
    with EmbeddedCluster(shaped(request.param.mode, proxy=request.param)) as cluster:
        cluster.apply(
            [
                *(server(name, node) for name, node in (("s1", "node-1"), ("s2", "node-2"))),
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": {"name": "web", "namespace": "default"},
                    "spec": {
                        "type": "NodePort",
                        "selector": {"app": "web"},
                        "ports": [{"port": 8080, "targetPort": 80}],
                    },
                },
            ]
        )
        cluster.wait_ready(timeout=180)
        yield cluster


def server(name: str, node: str) -> dict[str, Any]:
    """Return an nginx pod on a node."""
    meta = {"name": name, "namespace": "default", "labels": {"app": "web"}}
    containers = [{"name": "main", "image": "nginx"}]
    spec = {"nodeName": node, "containers": containers}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def service(cluster: EmbeddedCluster) -> Any:
    """Return the Service's spec."""
    return cluster.objects.get("/api/v1/namespaces/default/services/web")["spec"]


def test_a_service_is_reached_as_soon_as_the_cluster_says_so(proxied: EmbeddedCluster) -> None:
    """From pods and nodes by its ClusterIP, from outside by its NodePort: at the first attempt."""
    spec = service(proxied)
    nodes = {node.name: node.address for node in proxied.nodes()}
    inside = (PodRef("default", "s1"), PodRef("default", "s2"), NodeRef("node-1"))
    probes = [Probe(place, spec["clusterIP"], 8080) for place in inside]
    for address in nodes.values():
        port = spec["ports"][0]["nodePort"]
        probes.append(Probe(OutsideRef("14.215.0.10"), address, port))

    verdicts = [outcome.verdict for outcome in proxied.probe(probes, 5.0)]

    assert verdicts == [Verdict.OPEN] * len(probes)


def test_a_backend_that_goes_is_not_chosen_any_more(proxied: EmbeddedCluster) -> None:
    """Once the cluster says that Services are in step, only the other one answers."""
    proxied.delete([server("s2", "node-2")])
    proxied.wait_ready(timeout=180)
    spec = service(proxied)

    probes = [Probe(NodeRef("node-2"), spec["clusterIP"], 8080)] * 20
    verdicts = {outcome.verdict for outcome in proxied.probe(probes, 5.0)}

    assert verdicts == {Verdict.OPEN}


def test_the_rules_are_kube_proxy_s(proxied: EmbeddedCluster) -> None:
    """Nobody else programs Services on the nodes."""
    tables = proxied.exec(NodeRef("node-1"), ("nft", "list", "tables")).stdout

    assert "service-proxy" not in tables
    nat = proxied.exec(NodeRef("node-1"), ("iptables-save", "-t", "nat")).stdout
    assert ("table ip kube-proxy" in tables) or ("KUBE-SERVICES" in nat)


def test_ipvs_is_refused_where_the_kernel_lacks_it() -> None:
    """With the reason and what helps, before anything is built; else it comes up."""
    made = make_embedded(settings_from({"proxy": "kube-proxy-ipvs"}))
    if look_ipvs().present:
        with made as cluster:
            assert cluster.describe()["proxy"] == "kube-proxy-ipvs"
        return
    with pytest.raises(MissingError, match=r"no IPVS; .*ip_vs"), made:
        pass
