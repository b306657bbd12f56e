"""Clusters behind one protocol (:class:`harness.clusters.base.Cluster`).

``embedded`` is built from network namespaces, ``kind`` has real Kubernetes nodes in containers, and
``existing`` ones are somebody else's. Nothing here knows of enforcers, policies or load.
:func:`make_cluster` turns settings into one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import names
from harness.clusters.base import Tell, say_nothing
from harness.controlplane.programs import Programs, find
from harness.errors import MissingError, UsageError
from harness.options import ClusterSettings

if TYPE_CHECKING:
    from harness.clusters.base import Cluster
    from harness.clusters.embedded.cluster import EmbeddedCluster
    from harness.clusters.embedded.settings import Shape
    from harness.clusters.kind.cluster import KindCluster


def make_cluster(settings: ClusterSettings, tell: Tell = say_nothing) -> Cluster:
    """Return the cluster that the settings describe; entering it brings it up."""
    match settings.cluster:
        case "embedded":
            return make_embedded(settings, tell)
        case "kind":
            return make_kind(settings, tell)
        case "kubeconfig":
            from harness.clusters.existing.guest import invited  # noqa: PLC0415  # heavy

            return invited(settings, tell)
        case other:
            raise UsageError(f"--cluster {other}: there is no such kind of cluster")


def make_kind(settings: ClusterSettings, tell: Tell = say_nothing) -> KindCluster:
    """Return a cluster of kind; MissingError with all that this machine lacks for it."""
    from harness.clusters.kind.cluster import KindCluster  # noqa: PLC0415
    from harness.clusters.kind.config import (  # noqa: PLC0415
        IpFamily,
        KindConfig,
        KindShape,
        KubeProxyMode,
    )
    from harness.clusters.kind.network import PodWiring  # noqa: PLC0415
    from harness.clusters.kind.tools import Wish, find_tools  # noqa: PLC0415
    from harness.images.chosen import chosen  # noqa: PLC0415

    config = KindConfig(
        settings.nodes - 1,
        KubeProxyMode(settings.proxy.removeprefix("kube-proxy-")),
        IpFamily(settings.ip_family),
        own_cni=settings.cni == "kindnet",
    )
    wiring = PodWiring.BRIDGED if settings.cni == "bridged" else PodWiring.ROUTED
    shape = KindShape(config, wiring, settings.bridge_netfilter)
    images = chosen(settings.image, settings.load_image)
    wish = Wish(settings.kind, settings.kubectl, settings.node_image, images.all())
    tools = find_tools(wish, shape)
    return KindCluster(settings.name or names.fresh(), tools, shape, images, tell)


def require(settings: ClusterSettings) -> None:
    """Find out now what this machine lacks for a cluster: MissingError with all of it.

    What a cluster of kind lacks :func:`make_cluster` says by itself.
    """
    if settings.cluster == "embedded":
        from harness.clusters.embedded import requirements  # noqa: PLC0415

        requirements.require(_shape(settings))


def make_embedded(settings: ClusterSettings, tell: Tell = say_nothing) -> EmbeddedCluster:
    """Return a cluster of network namespaces."""
    from harness.clusters.embedded.cluster import EmbeddedCluster  # noqa: PLC0415  # heavy

    cluster = EmbeddedCluster(_shape(settings), tell)
    cluster.may_fall_back = settings.control_plane == "auto" and not settings.needs_real
    return cluster


def _shape(settings: ClusterSettings) -> Shape:
    from harness.clusters.embedded.addresses import IpFamily  # noqa: PLC0415
    from harness.clusters.embedded.settings import Cni, Proxy, Shape  # noqa: PLC0415

    found = _control_plane(settings)
    return Shape(
        name=settings.name or names.fresh(),
        nodes=settings.nodes,
        cni=Cni(settings.cni),
        bridge_netfilter=settings.bridge_netfilter,
        mixed_netfilter=settings.bridge_netfilter_mixed,
        bridges=settings.bridges,
        ip_family=IpFamily(settings.ip_family),
        masquerade=settings.masquerade,
        pods_per_node=settings.pods_per_node,
        time_wait=settings.time_wait,
        proxy=Proxy(settings.proxy),
        programs={} if found is None else found.paths,
        kubernetes="" if found is None else found.version,
        pod_logs=settings.pod_logs,
    )


def _control_plane(settings: ClusterSettings) -> Programs | None:
    """Return the real control plane to take; None for the builtin one.

    Raises MissingError where the real one was asked for, by itself or by what needs it.
    """
    if settings.control_plane == "builtin":
        return None
    found = find(settings.kubernetes_version)
    if isinstance(found, Programs):
        return found
    if settings.control_plane == "real" or settings.needs_real:
        raise MissingError(found.reason)
    return None
