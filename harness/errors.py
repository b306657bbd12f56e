"""The tree of errors. Each is a message for a person: what is wrong, where, what to do.

::

    HarnessError          something went wrong; exit code 1
    ├── UsageError        an option, a scenario or a manifest is wrong; all mistakes at once; 2
    ├── MissingError      the machine lacks a tool, a privilege or a kernel feature; 2
    ├── ClusterError      a cluster did not come up, or is not what it should be; 1
    ├── EnforcerFailed    the enforcer under test did not install, get ready or switch; 1
    ├── NotJudged         a functional run ended by one of these two, without a verdict; 2
    └── Interrupted       Ctrl-C, once everything was taken down; 130, as shells have it

Only :func:`harness.cli.main` ends the process.
"""

from __future__ import annotations


class HarnessError(Exception):
    """Base of every error that a user is told about without a traceback."""

    exit_code = 1


class UsageError(HarnessError):
    """Wrong input; one line for each mistake."""

    exit_code = 2


class MissingError(HarnessError):
    """The machine lacks something; the message says the command that helps."""

    exit_code = 2


class ClusterError(HarnessError):
    """A cluster did not come up, or is not what it should be."""


class EnforcerFailed(HarnessError):  # noqa: N818  # it names whose failure it is, not ours
    """The enforcer under test did not install, get ready or switch; carries its last log lines."""


class NotJudged(HarnessError):  # noqa: N818  # it names what became of the run
    """A functional run could not go on, so it has no verdict; 1 would say that it has a bad one."""

    exit_code = 2


class Interrupted(HarnessError):  # noqa: N818  # a person's wish, no failure
    """Ctrl-C ended it."""

    exit_code = 130
