"""The commands that look and change nothing: explain, diff, status. They print and return codes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from enforcer import explained
from enforcer import status as statuses
from enforcer.compare import compare
from enforcer.errors import SettingsError
from enforcer.explain import Live
from enforcer.explain import explain as explain_connection
from enforcer.flags import settings_from
from enforcer.health import ask, reachable
from enforcer.kube import load_cluster, load_dump
from enforcer.nft.kernel import NftKernel, check_nft
from enforcer.nft.objects import Ruleset
from enforcer.nft.transaction import Transaction, command_text
from enforcer.policy.cluster import Cluster
from enforcer.ruleset.names import TABLES
from enforcer.settings import Settings

_SAME, _DIFFERENT = 0, 1
_JSON = "json"


@dataclass(frozen=True, slots=True)
class Source:
    """Where to read the cluster: flags for a live one, or a dump."""

    flags: Mapping[str, str | None]
    dump: Path | None = None


def explain(client: str, target: str, source: Source, output: str) -> int:
    """Print an explanation; return 1 where policies and kernel differ."""
    flags = dict(source.flags)
    if source.dump is not None:
        flags["node_name"] = flags.get("node_name") or "-"  # no Node is asked about
    settings, _ = settings_from(flags)
    cluster, live = _read(source, settings)
    found = explain_connection(cluster, client, target, live, settings.service_cidr)
    _print(output, explained.as_json(found), explained.lines(found))
    return _DIFFERENT if any(answer.differences for answer in found.answers) else _SAME


def _read(source: Source, settings: Settings) -> tuple[Cluster, Live | None]:
    if source.dump is not None:
        return load_dump(source.dump), None
    tables = _tables()
    return _live_cluster(settings), Live(settings.node_name, tables)


def _tables() -> Ruleset:
    check_nft()
    return NftKernel().read(TABLES)


def _live_cluster(settings: Settings) -> Cluster:
    cluster = asyncio.run(load_cluster(settings.kubeconfig, settings.master))
    if settings.node_name not in cluster.nodes:
        known = ", ".join(sorted(cluster.nodes)) or "none"
        raise SettingsError(f"--node-name: no Node {settings.node_name}; there is: {known}")
    return cluster


def diff(flags: Mapping[str, str | None], output: str) -> int:
    """Print the transactions that a sync would send; return 1 where there are any."""
    settings, _ = settings_from(flags)
    tables = _tables()
    changes = compare(_live_cluster(settings), settings.node_name, settings.options, tables)
    _print(output, [_transaction_json(item) for item in changes], _diff_lines(changes))
    return _DIFFERENT if changes else _SAME


def _diff_lines(changes: Iterable[Transaction]) -> Iterable[str]:
    shown = [f"# {item.purpose}\n{str(item).rstrip()}" for item in changes]
    return shown or ["the kernel holds what the cluster means"]


def _transaction_json(change: Transaction) -> dict[str, object]:
    return {"purpose": change.purpose, "commands": [command_text(it) for it in change.commands]}


def status(flags: Mapping[str, str | None], output: str) -> None:
    """Print the state of tables and daemon."""
    settings, _ = settings_from({"node_name": "-", **flags})  # no Node is asked about
    daemon = asyncio.run(ask(reachable(settings.health_address), settings.health_port))
    found = statuses.status_of(_tables(), daemon)
    _print(output, statuses.as_json(found), statuses.lines(found))


def _print(output: str, values: object, lines: Iterable[str]) -> None:
    if output == _JSON:
        click.echo(json.dumps(values, indent=2))
    else:
        click.echo("\n".join(lines))
