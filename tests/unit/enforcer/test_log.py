"""The log: one line an event, as text or as JSON, from the level on that was asked for."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest

from enforcer import log
from enforcer.settings import LogFormat


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """Give the root logger back as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_a_line_of_text_has_time_level_and_who_says_it(capfd: pytest.CaptureFixture[str]) -> None:
    """To standard error, with what happened at the end."""
    log.configure("info", LogFormat.TEXT)

    logging.getLogger("enforcer.somewhere").warning("%d of %s", 2, "them")

    line = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING enforcer\.somewhere: 2 of them\n"
    assert re.fullmatch(line, capfd.readouterr().err)


def test_a_line_of_json_is_one_object(capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever is in the message; fields of a record are fields of the object."""
    log.configure("info", LogFormat.JSON)

    fields = {"clientPort": 80, "server": None}
    logging.getLogger("enforcer").info('a "quote"\nand %s', "more", extra={"fields": fields})

    (line,) = capfd.readouterr().err.splitlines()
    found = json.loads(line)
    assert found.pop("time").endswith("+00:00")
    assert found == {
        "level": "info",
        "logger": "enforcer",
        "message": 'a "quote"\nand more',
        "clientPort": 80,
        "server": None,
    }


def test_an_exception_stays_in_its_line_of_json(capfd: pytest.CaptureFixture[str]) -> None:
    """A collector of logs that splits lines keeps it together."""
    log.configure("info", LogFormat.JSON)

    try:
        int("five")
    except ValueError:
        logging.getLogger("enforcer").exception("failed")

    (line,) = capfd.readouterr().err.splitlines()
    assert json.loads(line)["exception"].endswith("'five'")


@pytest.mark.parametrize("style", list(LogFormat))
def test_what_is_below_the_level_is_not_said(
    style: LogFormat, capfd: pytest.CaptureFixture[str]
) -> None:
    """A level is the least that is worth a line."""
    log.configure("warning", style)

    logging.getLogger("enforcer").info("small")

    assert capfd.readouterr().err == ""
