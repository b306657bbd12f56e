"""A cluster and an enforcer of numbers: ab's output is written, not measured.

The fake refuses what a cluster refuses: work while it is down, a probe of an address that no
pod has, a program that it does not know.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest
from rich.console import Console

from harness.clusters.base import (
    Completed,
    Held,
    Manifest,
    NodeInfo,
    Outcome,
    Place,
    PodRef,
    Probe,
    Process,
    Right,
    Verdict,
)
from harness.enforcers.base import State, Usage
from harness.errors import ClusterError
from harness.load.locust import Steps
from harness.measure import bench, calm
from harness.measure.plan import Design
from harness.measure.progress import Narrator
from harness.measure.study import Lab, Study
from harness.results import RunFolder

AB_REPORT = """\
Complete requests:      {requests}
Failed requests:        {failed}
{kept}Time taken for tests:   {seconds:.3f} seconds
Requests per second:    {rps:.2f} [#/sec] (mean)

Percentage of the requests served within a certain time (ms)
  50%      1
  99%      3
"""

LOCUST_TOTALS = json.dumps(
    [
        {
            "name": f"{step} {moment}",
            "num_requests": requests,
            "num_failures": 0,
            "response_times": {"1": requests // 2, "3": requests // 2},
        }
        for step, requests in enumerate((20, 40))
        for moment in ("arrival", "service")
    ]
)


@dataclass
class FakeEnforcer:
    """Enforcement is a word; ``stuck`` is an enforcer whose switch does nothing."""

    name: str = "fake"
    now: State = State.ABSENT
    stuck: bool = False
    calls: list[str] = field(default_factory=list)

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name}

    def share_nodes(self, number: int) -> None:
        self.calls.append(f"share_nodes {number}")

    def install(self, cluster: object, logs: Path, nodes: Sequence[str] = ()) -> None:
        self._to("install", State.ON)

    def wait_ready(self, timeout: float = 60.0) -> None:
        self.calls.append("wait_ready")

    def disable(self) -> None:
        self._to("disable", State.OFF)

    def enable(self) -> None:
        self._to("enable", State.ON)

    def hold(self) -> None:
        self._to("hold", State.ON)

    def state(self) -> State:
        return self.now

    def restart(self) -> None:
        self.calls.append("restart")

    def uninstall(self) -> None:
        self._to("uninstall", State.ABSENT)

    def cpu_seconds(self) -> float:
        return 0.0

    def usage(self) -> dict[str, Usage]:
        return {}

    def _to(self, call: str, state: State) -> None:
        self.calls.append(call)
        if not (self.stuck and call in {"enable", "disable"}):
            self.now = state


class EndedProcess:
    """A program that is done already."""

    pid = 1

    def running(self) -> bool:
        return False

    def signal(self, number: int) -> None:
        raise ProcessLookupError

    def stop(self, timeout: float = 10.0) -> None:
        pass

    def cpu_seconds(self) -> float:
        return 1.5

    def rss_bytes(self) -> int:
        return 0

    def tail(self, lines: int = 20) -> str:
        return ""


@dataclass
class FakeCluster:
    """Two nodes; ab runs at a rate that the enforcer's cost, concurrency and noise decide."""

    enforcer: FakeEnforcer
    others: tuple[FakeEnforcer, ...] = ()
    """Enforcers that share its nodes."""

    kind: str = "fake"
    name: str = "fake"
    kubeconfig: Path = Path("/dev/null")
    node_kubeconfig: Path = Path("/dev/null")
    logs_to: Path | None = None
    cost: float = 0.0
    noise: float = 0.02
    fails_at: frozenset[int] = frozenset()
    """Which runs of ab, counted from 1, have failed requests."""

    interrupted_at: int = 0
    """Which run of ab is interrupted by Ctrl-C."""

    foreign_denials: bool = False
    """Whether something that is not ours enforces."""

    time_wait: int = 0
    """Connections of the client in TIME_WAIT."""

    forwarded: int = 0
    policy: bool = False
    admitted: set[str] = field(default_factory=set)
    """Hosts that a policy names one by one."""

    untracked: bool = False
    up: bool = False
    runs: int = 0
    pods: dict[str, str] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=lambda: {"kubernetes": "10.96.0.1"})
    visited: set[str] = field(default_factory=set)
    """Whom locust was sent to."""

    commands: list[tuple[Place, tuple[str, ...]]] = field(default_factory=list)
    coin: random.Random = field(default_factory=lambda: random.Random(7))

    def __enter__(self) -> Self:
        self.up = True
        return self

    def __exit__(self, *exc: object) -> None:
        self.up = False

    def nodes(self) -> tuple[NodeInfo, ...]:
        return tuple(NodeInfo(f"node-{n}", f"192.0.2.{n}", (f"10.0.{n}.0/24",)) for n in (1, 2))

    def describe(self) -> Mapping[str, Any]:
        return {"kind": self.kind}

    def kubeconfig_of(self, account: str, rights: Sequence[Right]) -> Path:
        return self.node_kubeconfig

    def apply(self, manifests: Iterable[Manifest]) -> None:
        self._needs_up()
        for manifest in manifests:
            name = manifest["metadata"]["name"]
            match manifest["kind"]:
                case "Pod":
                    assert name not in self.pods, f"{name} is made again"
                    self.pods[name] = f"10.0.1.{len(self.pods) + 1}"
                case "NetworkPolicy":
                    self.policy = True
                    self.admitted |= _hosts(manifest)
                case "Service":
                    self.services[name] = f"10.96.0.{len(self.services) + 1}"

    def delete(self, manifests: Iterable[Manifest]) -> None:
        self._needs_up()
        assert {manifest["kind"] for manifest in manifests} == {"NetworkPolicy"}
        self.policy = False

    def wait_ready(self, namespace: str | None = None, timeout: float = 300.0) -> None:
        self._needs_up()

    def annotate(self, pod: PodRef, changes: Mapping[str, str | None]) -> None:
        self._needs_up()

    def serve(self, place: Place, port: int, protocol: str = "TCP") -> None:
        self._needs_up()

    def unsupported(self) -> Mapping[str, str]:
        return {}

    def hold(self, probes: Sequence[Probe], timeout: float = 0.25) -> list[Held]:
        outcomes = self.probe(probes, timeout)
        return [Held(probe, one) for probe, one in zip(probes, outcomes, strict=True)]

    def ask(self, held: Sequence[Held], timeout: float = 0.25) -> list[Outcome]:
        return self.probe([one.probe for one in held], timeout)

    def release(self, held: Sequence[Held]) -> None:
        self._needs_up()

    def probe(self, probes: Sequence[Probe], timeout: float = 0.25) -> list[Outcome]:
        self._needs_up()
        return [self._outcome(probe) for probe in probes]

    def exec(self, place: Place, argv: Sequence[str], timeout: float = 60.0) -> Completed:
        self._needs_up()
        self.commands.append((place, tuple(argv)))
        match argv[0]:
            case "sh":
                return Completed(tuple(argv), 0, self._ab(argv[6:]), "")
            case "sysctl" | "ip":
                return Completed(tuple(argv), 0, "", "")
            case "nft":
                self.untracked = "notrack" in argv[1]
                return Completed(tuple(argv), 0, "", "")
            case "cat" if argv[1] == "/proc/net/sockstat":
                said = f"sockets: used 9\nTCP: inuse 3 orphan 0 tw {self.time_wait} alloc 9 mem 1\n"
                return Completed(tuple(argv), 0, said, "")
            case "cat" if argv[1] == "/proc/net/snmp":
                self.forwarded += 20_000
                said = f"Ip: Forwarding ForwDatagrams\nIp: 1 {self.forwarded}\n"
                return Completed(tuple(argv), 0, said, "")
            case "cat":
                return Completed(tuple(argv), 0, "10\n262144\n", "")
            case _:
                raise ClusterError(f"{argv[0]}: no such program")

    def spawn(
        self,
        place: Place,
        argv: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        self._needs_up()
        words = list(argv)
        if "locust" not in words:
            raise ClusterError(f"{words[0]}: no such program")
        self.visited |= {*(env or {}).get("NPD_TARGETS", "").split()}
        Path(words[words.index("--json-file") + 1] + ".json").write_text(LOCUST_TOTALS)
        return EndedProcess()

    def _outcome(self, probe: Probe) -> Outcome:
        assert probe.address in {*self.pods.values(), *self.services.values()}
        source = str(probe.source)
        denied = source.startswith(("outside/14.216.", "default/"))
        denied = denied and source.removeprefix("outside/") not in self.admitted
        enforced = State.ON in {each.now for each in self._enforcers} or self.foreign_denials
        if self.untracked and probe.address in self.services.values():
            return Outcome(Verdict.DROPPED, 0.001)
        selected = self.policy or self.foreign_denials
        return Outcome(Verdict.DROPPED if denied and enforced and selected else Verdict.OPEN, 0.001)

    def _ab(self, argv: Sequence[str]) -> str:
        self.runs += 1
        if self.runs == self.interrupted_at:
            raise KeyboardInterrupt
        requests, concurrency = (int(argv[argv.index(flag) + 1]) for flag in ("-n", "-c"))
        kept = "-k" in argv
        rps = 9000 * concurrency / (concurrency + 2) * (2.5 if kept else 1.0)
        rps *= math.exp(self.coin.gauss(0, self.noise))
        acting = [each for each in self._enforcers if each.now is State.ON]
        assert len(acting) <= 1, f"{acting} act at once"
        rps *= 1 - self.cost * len(acting)
        return AB_REPORT.format(
            requests=requests,
            failed=3 if self.runs in self.fails_at else 0,
            kept=f"Keep-Alive requests:    {requests}\n" if kept else "",
            seconds=requests / rps,
            rps=rps,
        )

    @property
    def _enforcers(self) -> tuple[FakeEnforcer, ...]:
        return (self.enforcer, *self.others)

    def _needs_up(self) -> None:
        if not self.up:
            raise ClusterError("the cluster is down")


def _hosts(policy: Manifest) -> set[str]:
    """Return the single hosts that a policy lets in."""
    rules = policy.get("spec", {}).get("ingress", ())
    peers = [peer for rule in rules for peer in rule["from"]]
    cidrs = (peer["ipBlock"]["cidr"] for peer in peers if "ipBlock" in peer)
    return {cidr.removesuffix("/32") for cidr in cidrs if cidr.endswith("/32")}


@dataclass
class FakeAddresses:
    """What the API server of the fake cluster says."""

    cluster: FakeCluster

    def services(self) -> dict[str, str]:
        return dict(self.cluster.services)

    def pod(self, name: str) -> str:
        return self.cluster.pods[name]


@dataclass
class Bed:
    """A study with its fakes, ready to run."""

    study: Study
    lab: Lab
    cluster: FakeCluster
    enforcer: FakeEnforcer
    folder: RunFolder


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody else use the fake machine."""
    monkeypatch.setattr(bench, "load", lambda _seconds: 0.0)
    monkeypatch.setattr(calm, "load", lambda _seconds: 0.0)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    """A small study on a fake cluster."""
    return make_bed(tmp_path)


@pytest.fixture
def pair(tmp_path: Path) -> Bed:
    """A small study of two enforcers."""
    return make_bed(tmp_path, others=(FakeEnforcer("other"),))


def make_bed(root: Path, name: str = "fake", others: tuple[FakeEnforcer, ...] = ()) -> Bed:
    """Put a study and its fakes together below ``root``."""
    enforcer = FakeEnforcer(name=name)
    cluster = FakeCluster(enforcer, others)
    enforcers = {each.name: each for each in (enforcer, *others)}
    folder = RunFolder.create(
        root,
        cluster="fake",
        scenario="perf",
        command=["harness", "perf"],
        settings={"enforcer": enforcer.name},
    )
    design = Design(
        sizes=(2, 6),
        concurrencies=(1, 8),
        elsewhere_concurrency=8,
        enforcers=tuple(enforcers),
        rounds=3,
        leg_seconds=0.05,
    )
    study = Study(design, services=4, seed=1, visit=Steps((), 0.0), rest_window=0.001)
    narrator = Narrator(Console(quiet=True))
    lab = Lab(cluster, enforcers, lambda _: FakeAddresses(cluster), folder, narrator)
    return Bed(study, lab, cluster, enforcer, folder)
