"""What an operator can choose about the packet program; defaults and their reasons."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from enforcer.errors import SettingsError

MARK_BITS = 32
FEWEST_EPOCHS = 255
POD_INTERFACES = ("cali*", "lxc*", "eni*", "azv*", "gke*", "cni0", "cbr0", "weave", "kube-bridge")


class DenyAction(enum.Enum):
    """What happens to a packet that no policy allows."""

    DROP = "drop"
    REJECT = "reject"


class UnknownPods(enum.Enum):
    """What happens to addresses of the node's pod networks that are not programmed yet."""

    DENY = "deny"
    ALLOW = "allow"


class AntiSpoofing(enum.Enum):
    """Whether a pod may send from an address that is not its own."""

    STRICT = "strict"
    OFF = "off"


class ExistingConnections(enum.Enum):
    """What a tightened policy does to connections that it no longer allows."""

    REVOKE = "revoke"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class LowerOptions:
    """The choices that shape our tables.

    ``mark_mask``       the bits of the conntrack mark that are ours: the stamp. Upper half by
                        default: kube-proxy and the CNI plugins use low bits.
    ``deny_action``     drop by default: it tells a scanner nothing, and it is what the functional
                        suites of the field expect.
    ``unknown_pods``    deny by default: a pod that starts is never open by accident.
    ``existing``        revoke by default: a policy that is added after a break-in cuts it.
    ``anti_spoofing``   strict by default: policies that name peers are worth nothing without it.
    ``pod_interfaces``  names of interfaces that lead to pods, a ``*`` at the end for any ending:
                        how pods are known on a node whose pod networks are not. The defaults are
                        those of Calico, Cilium, AWS, Azure and GKE, and of the bridge plugins.
    ``overlay_ports``   UDP ports on which nodes decapsulate: VXLAN, Geneve, flannel's VXLAN.
    ``log_group``       NFLOG group for denied connections, at most ten a second for each class;
                        none to log nothing.
    """

    mark_mask: int = 0xFFFF0000
    deny_action: DenyAction = DenyAction.DROP
    unknown_pods: UnknownPods = UnknownPods.DENY
    existing: ExistingConnections = ExistingConnections.REVOKE
    anti_spoofing: AntiSpoofing = AntiSpoofing.STRICT
    pod_interfaces: tuple[str, ...] = POD_INTERFACES
    overlay_ports: tuple[int, ...] = (4789, 6081, 8472)
    log_group: int | None = 100

    def __post_init__(self) -> None:
        """Refuse a mask that leaves no room for epochs."""
        bits = self.mark_mask >> _shift(self.mark_mask)
        if not 0 < self.mark_mask < 1 << MARK_BITS or bits & (bits + 1) or bits < FEWEST_EPOCHS:
            raise SettingsError(
                f"the mark mask {self.mark_mask:#x} must be eight or more bits in one row"
            )

    @property
    def last_epoch(self) -> int:
        """The greatest epoch that fits into the mask."""
        return self.mark_mask >> _shift(self.mark_mask)

    def mark(self, epoch: int) -> int:
        """Return the mark (our bits only) that carries ``epoch``."""
        return epoch << _shift(self.mark_mask)


def _shift(mask: int) -> int:
    return max((mask & -mask).bit_length() - 1, 0)
