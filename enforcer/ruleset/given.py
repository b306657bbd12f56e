"""What the fixed chains of one family depend on, and the matches that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from enforcer.model.net import Direction, Family, IPNetwork
from enforcer.nft.elements import network
from enforcer.nft.objects import Flowtable, Rule, rule
from enforcer.ruleset.names import HEADERS, pods_set
from enforcer.ruleset.options import AntiSpoofing, LowerOptions, UnknownPods
from enforcer.ruleset.room import LEAST, POD_INTERFACES, roomy

NOT_RELATED: Final = "ct state != related"
"""An ICMP error carries the mark of the connection it speaks of, whoever has sent it."""
TCP: Final = {Family.IPV4: "ip protocol 6", Family.IPV6: "ip6 nexthdr 6"}
"""Excludes ICMP errors, too, at a third of the price; TCP behind IPv6 extension headers as well."""
SHORTCUT: Final = "shortcut"


@dataclass(frozen=True, slots=True)
class ProgramInput:
    """What a family's fixed chains depend on: epoch, options, the node's pod networks."""

    family: Family
    epoch: int
    options: LowerOptions
    pod_networks: tuple[IPNetwork, ...]
    fast_interfaces: frozenset[str] = frozenset()
    isolated: frozenset[Direction] = frozenset()
    """In which directions local pods are isolated."""
    forwards: bool = False
    """Whether a pod of this node forwards for others."""
    room: int = LEAST
    """Of the sets of this node's own pods."""
    settled: bool = True
    """False: another epoch follows at once, see :mod:`enforcer.ruleset.epoch`."""

    @property
    def timeless(self) -> ProgramInput:
        """The same for the chains to which the epoch makes no difference."""
        return replace(self, epoch=0, settled=True, fast_interfaces=frozenset())

    @property
    def header(self) -> str:
        """What the family's addresses are asked by: ``ip`` or ``ip6``."""
        return HEADERS[self.family]

    @property
    def tcp(self) -> str:
        """What matches TCP, and no ICMP error."""
        return TCP[self.family]

    @property
    def flowtable(self) -> Flowtable | None:
        """The short cut of this epoch, if there is to be one."""
        name = f"fast_{self.epoch}"
        return Flowtable(name, self.fast_interfaces) if self.fast_interfaces else None

    @property
    def fast(self) -> Rule:
        """The rule that accepts what was judged in this epoch."""
        return rule(f"{self._stamped} {NOT_RELATED} accept", "fast")

    def passing(self, match: str) -> Rule:
        """Return the rule that lets pass what was judged, by the short cut where there is one.

        The mark stands first: a connection's first packet has none, and is asked nothing else.
        """
        verdict = f"goto {SHORTCUT}" if self.flowtable else "accept"
        return rule(f"{self._stamped} {match} {verdict}", "fast")

    @property
    def shortcut(self) -> tuple[Rule, ...]:
        """The rules that put a connection onto the short cut; what cannot go there passes, too."""
        add = (rule(f"flow add @{self.flowtable.name}"),) if self.flowtable else ()
        return (*add, rule("accept"))

    @property
    def _stamped(self) -> str:
        return f"ct mark & {self.options.mark_mask:#010x} == {self.options.mark(self.epoch):#010x}"

    def stamp(self, condition: str = "") -> Rule:
        """Return a rule that stamps a connection with this epoch; its comment carries the epoch."""
        mask, mark = self.options.mark_mask, self.options.mark(self.epoch)
        others = ~mask & 0xFFFFFFFF
        return rule(
            f"{condition}ct mark set ct mark & {others:#010x} | {mark:#010x} accept",
            epoch_note(self.epoch, mask, settled=self.settled),
        )

    @property
    def denies_unknown(self) -> bool:
        """Whether an address that no programmed pod has is denied."""
        return self.options.unknown_pods is UnknownPods.DENY

    @property
    def spoof(self) -> tuple[str, ...]:
        """The rules that a packet from a pod is asked for its source; none without the check."""
        if self.options.anti_spoofing is AntiSpoofing.OFF:
            return ()
        excepted = ("iifname @forwarders return",) if self.forwards else ()
        return (*excepted, "fib saddr . iif oif 0 goto spoof")

    def pod_side(self, key: str) -> tuple[str, ...]:
        """Return matches of ``iifname`` or ``oifname`` against interfaces that lead to pods.

        Where the pod networks are not known an interface is known by its name, too: before there
        is a route to its pod, and so before ``podif`` can have it.
        """
        by_name = () if self.pod_networks else self._by_name(key)
        return (f"{key} @{roomy(POD_INTERFACES, self.room)}", *by_name)

    @property
    def pods(self) -> str:
        """The set of the local pods' addresses, as rules name it."""
        return f"@{pods_set(self.family, self.room)}"

    def _by_name(self, key: str) -> tuple[str, ...]:
        names = ", ".join(f'"{name}"' for name in self.options.pod_interfaces)
        return (f"{key} {{ {names} }}",) if names else ()

    def in_pod_networks(self, key: str) -> str:
        """Return a match of ``key`` against the node's pod networks; empty when it has none.

        One network, the usual case, is compared in place: cheaper than a set.
        """
        match len(self.pod_networks):
            case 0:
                return ""
            case 1:
                return f"{key} {network(self.pod_networks[0])}"
            case _:
                return f"{key} @cidr{self.family.value}"


UNSETTLED: Final = " unsettled"


def epoch_note(epoch: int, mask: int, *, settled: bool) -> str:
    """Return the words by which the kernel remembers the epoch for us."""
    return f"epoch {epoch} of {mask:#010x}{'' if settled else UNSETTLED}"
