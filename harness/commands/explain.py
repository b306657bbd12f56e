"""``harness explain``: a case in words, its policies, and who may reach whom in each step."""

from __future__ import annotations

import click

from harness.matrix.explaining import explain


@click.command()
@click.argument("case")
@click.option(
    "--yaml", "as_yaml", is_flag=True, help="Print the policies alone, as kubectl takes them."
)
def command(case: str, *, as_yaml: bool) -> None:
    """Say what case CASE is about: its rule, its steps and policies, the expected table, and why.

    No cluster is needed: pods are where the scenario puts them, and the oracle judges.
    """
    for line in explain(case, as_yaml=as_yaml):
        click.echo(line)
