"""The tree of errors. Each one is a sentence that says what is wrong, where, and what to do.

::

    EnforcerError
    ├── SettingsError     a flag, an environment variable or a kubeconfig is wrong
    ├── MissingError      the machine lacks something: nft, a privilege, a kernel feature
    ├── ApiError          the API server refused or could not be reached
    ├── DecodeError       an object from the API, or a dump, cannot be understood
    └── KernelError       the kernel refused a transaction
        └── LostRaceError   somebody else changed a table since we looked

Libraries' errors are translated at the border; only :func:`enforcer.cli.main` ends the process.
"""

from __future__ import annotations


class EnforcerError(Exception):
    """Base of every error that a user is told about in one clear message; exit code 1."""

    exit_code = 1


class SettingsError(EnforcerError):
    """Wrong settings; all mistakes at once, one a line."""

    exit_code = 2


class MissingError(EnforcerError):
    """The machine lacks a tool, a privilege or a kernel feature; says the command that helps."""

    exit_code = 2


class ApiError(EnforcerError):
    """The API server refused a request or could not be reached."""


class DecodeError(EnforcerError):
    """An object cannot be understood; says which, where in it, and why."""


class KernelError(EnforcerError):
    """The kernel (or nft) refused a transaction; carries what nft said."""


class LostRaceError(KernelError):
    """The ruleset is no longer the one that a transaction was made for: look again, and at once."""
