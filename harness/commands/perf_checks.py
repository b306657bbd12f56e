"""Whether a cluster can do what ``harness perf`` is asked."""

from __future__ import annotations

from harness.combinations import KIND_PODS
from harness.commands.perf_options import SERVICES_PER_NODE, Asked
from harness.errors import UsageError
from harness.measure.plan import NOBODY
from harness.options import ClusterSettings, require_embedded
from harness.workload import study as workload
from harness.workload.sweep import PODS_EACH, Quantity

TINY_SERVICES = 4

KIND_OWN_PODS = 14
"""On a real node: control plane, proxy, DNS, the harness's and the enforcer's."""

_FOLLOW_NOTHING = (NOBODY, "linear-rules")


def require_followers(asked: Asked, settings: ClusterSettings) -> None:
    """Raise UsageError where a sweep of policies would be measured on who follows none."""
    if asked.quantity is Quantity.PODS:
        return
    require_embedded(settings, f"--sweep {asked.quantity.value}")
    if asked.changes:
        raise UsageError(f"--changes goes with sizes, not with --sweep {asked.quantity.value}")
    idle = [each for each in asked.enforcers if each.startswith(_FOLLOW_NOTHING)]
    if idle:
        raise UsageError(f"--sweep {asked.quantity.value}: {', '.join(idle)} follows no policies")


def pods_each(asked: Asked) -> int:
    """Return the pods of each interfering Service in the largest size."""
    return asked.sizes[-1] if asked.quantity is Quantity.PODS else PODS_EACH


def require_room(asked: Asked) -> None:
    """Raise UsageError where a real node cannot take the pods that are asked for."""
    if asked.full:
        raise UsageError("--full is 100 nodes: --cluster embedded has as many")
    services = TINY_SERVICES if asked.tiny else SERVICES_PER_NODE
    if services * pods_each(asked) + workload.TEST_PODS > KIND_PODS - KIND_OWN_PODS:
        most = (KIND_PODS - KIND_OWN_PODS - workload.TEST_PODS) // services
        raise UsageError(
            f"a node takes {KIND_PODS} pods, up to {KIND_OWN_PODS} of them the cluster's"
            f" and the harness's own: at most {most} pods a service (--sizes)"
        )
