"""``enforcer explain``: who may reach whom, who says so, and whether the kernel agrees.

A pure function of a cluster and of the tables as they were read back. The client's egress is
enforced on the client's node and the server's ingress on the server's; a kernel can be asked for
the pods of its own node only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from enforcer.errors import SettingsError
from enforcer.model.net import Direction, IPAddress, IPNetwork, family_of
from enforcer.nft.objects import Ruleset, Table
from enforcer.places import Place, find_both
from enforcer.policy.cluster import Cluster
from enforcer.policy.compile import compile_node
from enforcer.policy.compiled import CompiledPolicy, LocalPod, PolicyClass, Problem
from enforcer.policy.reasons import Connection, Reasons, Traffic, allowed_by, reasons
from enforcer.ruleset.names import JUDGES
from enforcer.ruleset.walk import Outcome, Question, Walk, drops_unknown, walk
from enforcer.services import advice


@dataclass(frozen=True, slots=True)
class Side:
    """One direction: the pod whose policies are asked, what they say, what the kernel says.

    ``always`` says why no policy is asked; ``unknown`` that the address is of a pod range and no
    pod's. ``walk`` is None where the kernel was not asked: ``where`` is the node that enforces
    this side.
    """

    direction: Direction
    pod: str
    where: str
    passes: bool
    reasons: Reasons
    always: str = ""
    unknown: bool = False
    walk: Walk | None = None
    difference: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for one pair of addresses."""

    client: IPAddress
    server: IPAddress
    sides: tuple[Side, ...]

    @property
    def passes(self) -> bool:
        """Whether the model lets the connection pass."""
        return all(side.passes for side in self.sides)

    @property
    def differences(self) -> tuple[str, ...]:
        """Where the model and the kernel, or the rules and what they compiled to, disagree."""
        return tuple(side.difference for side in self.sides if side.difference)


@dataclass(frozen=True, slots=True)
class Explanation:
    """All answers, one for each pair of addresses of one family; ``advice``: whom else to ask."""

    client: Place
    server: Place
    traffic: Traffic
    answers: tuple[Answer, ...]
    problems: tuple[Problem, ...]
    live: bool
    advice: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Live:
    """A node's kernel: its name, and its tables as they were read back."""

    node: str
    tables: Ruleset


def explain(
    cluster: Cluster,
    client: str,
    target: str,
    live: Live | None = None,
    services: Iterable[IPNetwork] = (),
) -> Explanation:
    """Explain a connection; SettingsError for places that are none.

    ``services`` are the Service ranges of the cluster, as far as they are known.
    """
    source, server, traffic = find_both(cluster, client, target)
    pairs = [
        (one, two)
        for one in source.addresses
        for two in server.addresses
        if one.version == two.version
    ]
    if not pairs:
        raise SettingsError(f"{client} and {target}: no address of one family on both ends")
    explainer = _Explainer(cluster, source, server, live)
    answers = tuple(explainer.answer(one, two, traffic) for one, two in pairs)
    pods = (network for node in cluster.nodes.values() for network in node.pod_networks)
    further = advice(server, traffic, services, pods)
    problems = explainer.problems()
    return Explanation(source, server, traffic, answers, problems, live is not None, further)


class _Explainer:
    def __init__(self, cluster: Cluster, client: Place, server: Place, live: Live | None) -> None:
        self._cluster = cluster
        self._client = client
        self._server = server
        self._live = live
        self._compiled: dict[str, CompiledPolicy] = {}

    def answer(self, client: IPAddress, server: IPAddress, traffic: Traffic) -> Answer:
        connection = Connection(self._client.end(client), self._server.end(server), traffic)
        directions = (Direction.EGRESS, Direction.INGRESS)
        return Answer(client, server, tuple(self._side(connection, kind) for kind in directions))

    def problems(self) -> tuple[Problem, ...]:
        """Return what could not be understood of the two pods, their policies and nodes."""
        places = (self._client, self._server)
        keys = {place.pod.key for place in places if place.pod}
        names = {"", *(key.namespace for key in keys)}
        found = {
            problem
            for compiled in self._compiled.values()
            for problem in compiled.problems
            if problem.subject in keys or problem.subject.namespace in names
        }
        return tuple(sorted(found, key=lambda item: (item.subject, item.message)))

    def _side(self, connection: Connection, direction: Direction) -> Side:
        place = self._server if direction is Direction.INGRESS else self._client
        local = connection.local(direction)
        told = reasons(self._cluster, connection, direction)
        always = self._always() or ("a node is selected by no policy" if place.on_host else "")
        ranged = "" if always or place.pod else self._range_of(local.address)
        compiled = self._class(place, direction)
        peer = connection.remote(direction).address
        allows = compiled is None or allowed_by(compiled.allowed, peer, connection.traffic)
        passes = bool(always) or (allows and not ranged)
        where = place.node or ranged
        side = Side(direction, str(local), where, passes, told, always, unknown=bool(ranged))
        return self._checked(side, connection, allows=allows)

    def _checked(self, side: Side, connection: Connection, *, allows: bool) -> Side:
        """Add what the kernel says, and whether everybody agrees."""
        if side.always:
            return side
        difference = ""
        if allows != side.reasons.allows and not self._shared(side):
            difference = (
                f"the rules of the policies {_word(side.reasons.allows)} {side.direction.value} of "
                f"{side.pod}, but what they compile to {_word(allows)} it"
            )
        found = self._walk(side, connection)
        if side.unknown and found is not None:
            # What a node does with unknown pods is its setting, which only its kernel knows.
            return replace(side, walk=found, passes=found.outcome.passes)
        if found is not None and (
            found.outcome.passes != side.passes or found.outcome is Outcome.BROKEN
        ):
            difference = (
                f"the policies {_word(side.passes)} {side.direction.value} of {side.pod}, but the "
                f"kernel's sets on {side.where} {_word(found.outcome.passes)} it"
            )
        return replace(side, walk=found, difference=difference)

    def _walk(self, side: Side, connection: Connection) -> Walk | None:
        if self._live is None or side.where != self._live.node:
            return None
        id_ = JUDGES[family_of(connection.local(side.direction).address)]
        table = self._live.tables.tables.get(id_)
        if table is None or table.dormant:
            return Walk(Outcome.ABSENT, f"table {id_}")
        return self._walk_table(table, side, connection)

    def _walk_table(self, table: Table, side: Side, connection: Connection) -> Walk:
        local = connection.local(side.direction).address
        if table.foreign:
            return Walk(Outcome.BROKEN, f"table {table.id}")
        traffic = connection.traffic
        question = Question(
            connection.client.address, connection.server.address, traffic.protocol, traffic.port
        )
        found = walk(table, question, side.direction)
        if found.outcome.passes and drops_unknown(table, local):
            return Walk(Outcome.DENIED, f"cidr{local.version} without pods{local.version}")
        return found

    def _always(self) -> str:
        """Return why no policy is asked at all; empty when they are."""
        client, server = self._client, self._server
        if client.pod is not None and server.pod is not None and client.pod == server.pod:
            return "a pod always reaches itself"
        if client.on_host and client.node == server.node:
            return f"node {client.node} always reaches its own pods (kubelet probes)"
        if server.on_host and client.node == server.node:
            return f"a pod always reaches its own node {server.node}"
        return ""

    def _range_of(self, address: IPAddress) -> str:
        """Return the node in whose pod ranges an address lies; empty for none."""
        for node in self._cluster.nodes.values():
            if any(address in network for network in self._cluster.pod_networks(node)):
                return node.name
        return ""

    def _class(self, place: Place, direction: Direction) -> PolicyClass | None:
        if place.pod is None or place.pod.host_network:
            return None
        pod = self._local(place.node, place)
        if pod is None:
            return None
        return pod.ingress if direction is Direction.INGRESS else pod.egress

    def _local(self, node: str, place: Place) -> LocalPod | None:
        if node not in self._compiled:
            self._compiled[node] = compile_node(self._cluster, node)
        pods = self._compiled[node].pods
        return next((pod for pod in pods if place.pod and pod.key == place.pod.key), None)

    def _shared(self, side: Side) -> bool:
        """Whether the pod is narrowed by something that is no rule: a problem says so."""
        return any(str(problem.subject) == side.pod for problem in self.problems())


def _word(passes: bool) -> str:  # noqa: FBT001  # the word for it
    return "allow" if passes else "deny"
