"""Small clusters for rules one by one: five pods, and what packets say of them after each step.

Every step is compared with the oracle, too, all over the matrix; what a test asserts is the rule
that it is about. Pods a, b and c live on a routed node, d and e on a bridged one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from tests.property.drawn import Json
from tests.property.fleet.packets import Probe, Seen, Way
from tests.property.fleet.states import State, Tenant
from tests.property.fleet.topology import PLACES, Place
from tests.property.fleet.trial import Trial

BY_NAME: Final = {place.name: place for place in PLACES}
NAMES: Final = {"a": "s11", "b": "s12", "c": "s13", "d": "s21", "e": "s22"}
TCP, UDP, SCTP, ICMP = Way.TCP, Way.UDP, Way.SCTP, Way.ICMP
HERE4, HERE6 = "14.215.0.0/16", "fd00:3::/64"


def pod(name: str, *ports: tuple[str, str, int], **changed: Any) -> Tenant:
    """Return a pod with a label of its name, and named ports: name, protocol, number."""
    named = [{"name": n, "protocol": p, "containerPort": number} for n, p, number in ports]
    return replace(Tenant("blue", "a", {"a": name}, named, (4, 6)), **changed)


def policy(
    *, pods: Json | None = None, namespace: str = "blue", name: str = "np", **spec: Any
) -> Json:
    """Return a policy for some pods (default: all) of a namespace."""
    metadata = {"namespace": namespace, "name": name}
    return {"metadata": metadata, "spec": {"podSelector": pods or {}, **spec}}


def labelled(value: str) -> Json:
    """Return a selector of the label that pods have by their names."""
    return {"matchLabels": {"a": value}}


FIVE: Final = {NAMES[name]: pod(name) for name in NAMES} | {"s23": None}
EMPTY: Final = State(
    {"blue": {}, "green": {"b": "x"}, "red": {}}, FIVE, {"n1": None, "n2": None}, {0: None, 1: None}
)


@dataclass
class Story:
    """A cluster that goes from state to state; ``seen`` is how packets ended in the last one."""

    trial: Trial
    index: dict[Probe, int]
    state: State = EMPTY
    seen: Seen | None = None

    def __call__(self, **changed: Any) -> None:
        """Go on: tenants by the names of this file, policy, beside it another, namespaces, on_host.

        What is not named stays as it is.
        """
        tenants = {NAMES.get(name, name): one for name, one in changed.get("tenants", {}).items()}
        self.state = State(
            {**self.state.namespaces, **changed.get("namespaces", {})},
            {**self.state.tenants, **tenants},
            {**self.state.on_host, **changed.get("on_host", {})},
            {
                0: changed.get("policy", self.state.policies[0]),
                1: changed.get("beside", self.state.policies[1]),
            },
        )
        self.seen = self.trial.go(self.state)

    def open(self, source: str, target: str, way: Way = TCP, port: int = 80) -> set[int]:
        """Return the IP versions by which a connection is open."""
        ends = (self._place(source), self._place(target))
        number = 0 if way is ICMP else port
        return self._answered(*(Probe(*ends, version, way, number) for version in (4, 6)))

    def open_by_service(self, source: str, target: str) -> set[int]:
        """Return the IP versions by which a pod's Service is open, on TCP port 80."""
        ends = (self._place(source), self._place(target))
        return self._answered(*(Probe(*ends, version, TCP, 80, front=True) for version in (4, 6)))

    def _answered(self, *probes: Probe) -> set[int]:
        assert self.seen is not None
        return {one.version for one in probes if self.index[one] in self.seen.answered}

    def _place(self, name: str) -> Place:
        return BY_NAME[NAMES.get(name, name)]


BOTH: Final = {4, 6}
NONE: Final[set[int]] = set()
