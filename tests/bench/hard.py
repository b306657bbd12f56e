"""Policies that would bring a careless enforcer down: right, and within bounds.

Each case is compiled and loaded into the kernel, and what the kernel's own sets say is compared
with the oracle, which reads the manifests alone, at connections drawn at random.
"""

from __future__ import annotations

import json
import random
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any, Final

from enforcer.kube.decode import decode_object
from enforcer.model.changes import Kind, Put, Replaced, Unreadable
from enforcer.model.net import Direction, Protocol
from enforcer.nft.kernel import NftKernel
from enforcer.nft.objects import Ruleset
from enforcer.nft.transaction import DeleteTable, Transaction
from enforcer.policy.cluster import Cluster
from enforcer.policy.compile import NodeCompiler
from enforcer.ruleset.names import IPV4, JUDGES, TABLES
from enforcer.ruleset.options import LowerOptions
from enforcer.ruleset.plan import Planner
from enforcer.ruleset.walk import Question, walk
from enforcer.wiring import NO_WIRING
from harness.matrix.oracle import Oracle
from tests.bench import world
from tests.bench.figures import Figure
from tests.bench.world import NODE, Json, Size

SIZE: Final = Size(pods=240, policies=10, local=20)
SAMPLES: Final = 100
MIB: Final = 1024  # ru_maxrss is in KiB
KINDS: Final = {
    Kind.NODES: "Node",
    Kind.NAMESPACES: "Namespace",
    Kind.POLICIES: "NetworkPolicy",
    Kind.PODS: "Pod",
}


def cases(scale: int = 1) -> Iterator[Figure]:
    """Run each case; ``scale`` divides its size, for a quick look."""
    for name, (make, most) in CASES.items():
        yield from _case(name, make(scale), most)


def _case(name: str, policies: list[Json], most: float) -> Iterator[Figure]:
    manifests = _manifests(policies)
    cluster = Cluster()
    for kind, items in manifests.items():
        cluster.apply(Replaced(kind, tuple(map(_decoded(kind), items))))
    compiler, planner, kernel = NodeCompiler(cluster, NODE), Planner(LowerOptions()), NftKernel()
    started = time.monotonic()
    compiled = compiler.compile()
    if compiled.problems:  # it would be denied, at no cost at all
        raise ValueError(compiled.problems[0].message)
    planned = planner.plan(Ruleset(), compiled, NO_WIRING)
    middle = time.monotonic()
    kernel.generation()
    for transaction in planned.transactions:
        kernel.apply(transaction)
    loaded = time.monotonic()
    inet = kernel.read(TABLES).tables[IPV4]
    elements = sum(len(item.elements) for item in inet.sets.values())
    yield Figure(f"{name}: compile and plan", middle - started, "s", most)
    yield Figure(f"{name}: load", loaded - middle, "s", most)
    yield Figure(
        f"{name}: one more pod, compile and plan",
        _one_more(cluster, compiler, planner, planned.want),
        "ms",
    )
    yield Figure(f"{name}: elements", elements, "")
    wrong = _wrong(manifests, inet)
    yield Figure(f"{name}: wrong answers of {SAMPLES}", wrong, "", 0)
    yield Figure(
        "peak memory so far", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB, "MiB"
    )
    kernel.apply(Transaction(tuple(map(DeleteTable, JUDGES.values()))))


def _manifests(policies: list[Json]) -> Mapping[Kind, list[Json]]:
    return {
        Kind.NODES: list(world.nodes(SIZE)),
        Kind.NAMESPACES: [{"metadata": {"name": "ns-0", "labels": {"team": "a"}}}],
        Kind.POLICIES: policies,
        Kind.PODS: list(world.pods(SIZE)),
    }


def _decoded(kind: Kind) -> Callable[[Json], Any]:
    def decode(item: Json) -> Any:
        found = decode_object(kind, json.dumps(item).encode())
        if isinstance(found, Unreadable):
            raise TypeError(found.problem)
        return found

    return decode


def _one_more(cluster: Cluster, compiler: NodeCompiler, planner: Planner, have: Ruleset) -> float:
    """Return the milliseconds that the label of one pod costs, decoded already."""
    changed = world.pod(SIZE.pods - 1, SIZE)
    changed["metadata"]["labels"]["app"] = "app-new"
    cluster.apply(Put(_decoded(Kind.PODS)(changed)))
    started = time.monotonic()
    planner.plan(have, compiler.compile(), NO_WIRING)
    return 1000 * (time.monotonic() - started)


def _wrong(manifests: Mapping[Kind, list[Json]], inet: Any) -> int:
    """Ask kernel and oracle the same questions; return how often they differ."""
    draw = random.Random(1)
    kinds = [{"kind": KINDS[kind], **item} for kind, items in manifests.items() for item in items]
    oracle = Oracle(kinds)
    wrong = 0
    for _ in range(SAMPLES):
        server = world.address_of(draw.randrange(SIZE.local), SIZE)
        client = draw.choice(
            [_outside(draw), world.address_of(draw.randrange(SIZE.local, SIZE.pods), SIZE)]
        )
        protocol, port = (
            draw.choice(["TCP", "UDP"]),
            draw.choice([80, 8080, draw.randrange(1, 65536)]),
        )
        asked = Question(ip_address(client), ip_address(server), Protocol(protocol), port)
        ours = walk(inet, asked, Direction.INGRESS).outcome.passes
        wrong += ours != oracle.judge(client, server, port, protocol).allowed
    return wrong


def _outside(draw: random.Random) -> str:
    first = draw.choice(["14.", "11.0.", "11.200.", "12.40."])
    rest = 4 - first.count(".")
    return first + ".".join(str(draw.randrange(256)) for _ in range(rest))


def _policy(name: str, rules: list[Json]) -> Json:
    return {
        "metadata": {"name": name, "namespace": "ns-0"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules},
    }


def _many_rules(scale: int) -> list[Json]:
    """200 policies of 50 rules, all on the same pods: peers, blocks, ports and ranges."""
    return [
        _policy(f"policy-{number}", [_rule(number, rule) for rule in range(50)])
        for number in range(200 // scale)
    ]


def _rule(number: int, rule: int) -> Json:
    port = 1 + (number * 50 + rule) * 6
    ports: list[Json] = [{"port": port, "protocol": "TCP" if rule % 2 else "UDP"}]
    if rule % 5 == 0:
        ports[0]["endPort"] = port + 20
    if rule % 3 == 0:
        peer: Json = {"ipBlock": {"cidr": f"14.{number}.{rule}.0/24"}}
    else:
        peer = {"podSelector": {"matchLabels": {"app": f"app-{rule % 10}"}}}
    return {"from": [peer], "ports": ports}


def _many_blocks(scale: int) -> list[Json]:
    """10,000 CIDRs in one policy."""
    blocks = [
        {"ipBlock": {"cidr": f"14.{number >> 8}.{number & 255}.{number % 2 * 128}/25"}}
        for number in range(10_000 // scale)
    ]
    return [_policy("blocks", [{"from": blocks, "ports": [{"port": 80}]}, {"from": blocks[::2]}])]


def _all_select_all(scale: int) -> list[Json]:
    """1,000 policies that select every pod."""
    return [
        _policy(
            f"policy-{number}",
            [
                {
                    "from": [{"podSelector": {"matchLabels": {"app": f"app-{number % 10}"}}}],
                    "ports": [{"port": 1000 + number}],
                }
            ],
        )
        for number in range(1000 // scale)
    ]


def _overlapping(scale: int) -> list[Json]:
    """300 ranges of ports that all overlap, each with a block of its own and pods."""
    rules = [
        {
            "from": [
                {"ipBlock": {"cidr": f"{11 + number // 256}.{number % 256}.0.0/16"}},
                {"podSelector": {"matchLabels": {"app": f"app-{number % 10}"}}},
            ],
            "ports": [{"port": 1 + number, "endPort": 60_000 - number}],
        }
        for number in range(300 // scale)
    ]
    return [_policy("ranges", rules)]


def _excepts(scale: int) -> list[Json]:
    """Every address but 1,000 networks."""
    holes = [f"14.{number >> 2}.{(number & 3) * 64}.0/20" for number in range(1000 // scale)]
    block = {"cidr": "0.0.0.0/0", "except": holes}
    ports = [{"port": 80, "endPort": 9000}, {"port": 53, "protocol": "UDP"}]
    return [_policy("all-but", [{"from": [{"ipBlock": block}], "ports": ports}])]


CASES: Final = {
    "200 policies of 50 rules": (_many_rules, 20.0),
    "10,000 CIDRs in one policy": (_many_blocks, 20.0),
    "1,000 policies that select every pod": (_all_select_all, 20.0),
    "300 overlapping port ranges": (_overlapping, 20.0),
    "a /0 with 1,000 excepts": (_excepts, 20.0),
}
