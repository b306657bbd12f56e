"""Programs in pods that are talked to over their standard input and output, a line at a time."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

from harness.errors import ClusterError

_GRACE_SECONDS = 5.0
_LINES = 5
"""Of a program's last words, that a message about its end carries."""


@contextlib.contextmanager
def talk(argv: Sequence[str]) -> Iterator[socket.socket]:
    """Start a program and give the way to it; it ends with the context.

    What it says on standard error is told where talking to it failed. A signal to our whole group,
    which Ctrl-C is, does not end it: what is tidied up then still needs it.
    """
    ours, theirs = socket.socketpair()
    with ours, tempfile.TemporaryFile() as errors:
        with theirs:
            process = subprocess.Popen(
                argv,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=errors.fileno(),
                process_group=0,
            )
        try:
            yield ours
        except ClusterError as error:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()[-_LINES:]
            raise ClusterError("\n".join((str(error), *said))) from error
        finally:
            process.terminate()
            try:
                process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
