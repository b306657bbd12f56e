"""Asking a person before something is done to a cluster that is not ours."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from harness.errors import UsageError

yes_option = click.option(
    "--yes", is_flag=True, help="Do not ask before something is done to a cluster of yours."
)


def ask(sentences: Iterable[str], question: str, *, yes: bool) -> bool:
    """Say what is going to be done, and ask; true where it may be.

    Without a terminal nobody can answer: UsageError, unless ``yes`` was said beforehand.
    """
    for sentence in sentences:
        click.echo(sentence, err=True)
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked, as this is no terminal; say --yes to go on")
    return click.confirm(question, default=False, err=True)
