"""A pod as its kubelet knows it: what runs, what has ended, and how far it is told."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass, field

from harness.clusters.embedded.addresses import NodePlan, namespace_of_node, namespace_of_pod
from harness.clusters.embedded.api import Object
from harness.clusters.embedded.containers import Pause, Started, Workload
from harness.clusters.embedded.echoes import Port
from harness.clusters.embedded.podnet import Seat
from harness.clusters.embedded.podstatus import Life


class Stage(enum.Enum):
    """How far a pod has come on its node."""

    STARTING = "starting"
    RUNNING = "running"
    ENDING = "ending"


@dataclass(slots=True)
class Pod:
    """A pod that this process gives life to."""

    object: Object
    node: NodePlan
    seat: Seat
    """Its own addresses; its node's where it is in the node's network."""
    host_network: bool
    workloads: tuple[Workload, ...]
    echoes: tuple[Port, ...] = ()
    """The ports that have echo servers."""
    stage: Stage = Stage.STARTING
    link: int | None = None
    pids: dict[int, int] = field(default_factory=dict)
    """Container number to process."""
    exits: dict[int, int] = field(default_factory=dict)
    """Container number to exit code, of containers that have ended for good."""
    restarts: dict[int, int] = field(default_factory=dict)
    ended: dict[int, int] = field(default_factory=dict)
    """Container number to how its run before this one ended: its exit code."""
    down: set[int] = field(default_factory=set)
    """Containers that have ended and are about to be started again."""
    unstarted: set[int] = field(default_factory=set)
    """Containers whose startup probe has not succeeded yet."""
    unready: set[int] = field(default_factory=set)
    """Containers whose startup or readiness probe does not succeed."""
    unprobed: str = ""
    """What is said of a probe that is not run here."""
    unproved: list[Started] = field(default_factory=list)
    """Processes that have not yet been seen to listen."""
    started: str = ""
    released: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once its status may be written."""
    settled: bool = False
    """Whether its network is being taken away, or has gone."""
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once its network has gone and its address may be somebody else's."""
    doomed: bool = False
    attended: set[tuple[int, int]] = field(default_factory=set)
    """The runs, by container number and restarts before, whose probes have been started."""
    telling: asyncio.Lock = field(default_factory=asyncio.Lock)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while no process of the pod runs."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once its network has been removed."""
    before: Pod | None = None
    """The pod that had its name until it was deleted, and may have its network still."""

    @property
    def namespace(self) -> str:
        """The pod's namespace."""
        return str(self.object["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """The pod's name."""
        return str(self.object["metadata"]["name"])

    @property
    def uid(self) -> str:
        """What tells it from another pod of its name."""
        return str(self.object["metadata"]["uid"])

    def note_end(self, number: int, code: int) -> None:
        """Note that a container has ended which is about to be started again."""
        self.restarts[number] = self.restarts.get(number, 0) + 1
        self.ended[number] = code
        self.down.add(number)

    @property
    def lives(self) -> bool:
        """Whether it takes room: it has not been deleted, and not all its containers ended."""
        return not self.doomed and not self.finished

    @property
    def containers(self) -> list[Object]:
        """What its spec says of its containers."""
        return self.object["spec"].get("containers") or []

    def runs(self, number: int) -> bool:
        """Whether a container runs; one without a program of its own does until its pod ends."""
        return number in self.pids or isinstance(self.workloads[number], Pause)

    @property
    def finished(self) -> bool:
        """Whether every container has ended for good."""
        return bool(self.workloads) and len(self.exits) == len(self.workloads)

    def has_still(self, address: str) -> bool:
        """Whether it has an address that it is about to give back."""
        own = not self.host_network and address in map(str, self.seat.host.addresses)
        return own and not self.lives and not self.freed.is_set()

    @property
    def life(self) -> Life:
        """What its status says of it."""
        return Life(
            tuple(map(str, self.seat.host.addresses)),
            tuple(map(str, self.node.host.addresses)),
            self.started,
            self.exits,
            self.restarts,
            self.ended,
            frozenset(self.down),
            frozenset(self.unstarted),
            frozenset(self.unready),
            self.unprobed,
        )

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def netns(self) -> str:
        """The network namespace that its programs run in."""
        if self.host_network:
            return namespace_of_node(self.node.name)
        return namespace_of_pod(self.namespace, self.name)
