"""Start and end a supervisor, from the client's side."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import harness
from harness.clusters.base import Tell
from harness.clusters.embedded import state, wire
from harness.clusters.embedded.ending import Tree
from harness.clusters.embedded.kubeconfig import kubeconfig, write
from harness.clusters.embedded.pki import Client
from harness.clusters.embedded.settings import ControlPlane, Shape
from harness.errors import ClusterError
from harness.requirements import ADMIN_PATHS

_NAMESPACES = (
    "unshare",
    "--mount",
    "--pid",
    "--net",
    "--fork",
    "--kill-child",
    "--propagation",
    "private",
)
_ORDERLY_SECONDS = 10.0
_KILLED_SECONDS = 60.0
_SILENCE_SECONDS = 300.0
"""More than the supervisor itself gives any step, so that its own words come first."""


@dataclass(slots=True)
class Launched:
    """A cluster whose supervisor was started by this process."""

    folder: state.Folder
    lifeline: socket.socket
    unshare: subprocess.Popen[bytes]

    def detach(self) -> None:
        """Let the cluster stay when this process ends."""
        wire.send(self.lifeline, {"detach": True})
        self.lifeline.close()


def launch(shape: Shape, tell: Tell) -> Launched:
    """Start a supervisor and return when it has built its cluster; else nothing is left."""
    Path("/run/netns").mkdir(exist_ok=True)
    folder, lock = state.claim(shape.name)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    launched: Launched | None = None
    try:
        _write_kubeconfig(shape, folder, f"127.0.0.1:{listener.getsockname()[1]}")
        folder.note(shape=shape.to_json())
        unshare = _start(shape, folder, (theirs.fileno(), lock, listener.fileno()))
        launched = Launched(folder, ours, unshare)
        theirs.close()
        _follow(ours, tell, folder.logs / "supervisor.log")
    except BaseException:
        theirs.close()
        os.close(lock)
        _give_up(launched, ours, folder)
        raise
    else:
        os.close(lock)
        return launched
    finally:
        listener.close()


def _write_kubeconfig(shape: Shape, folder: state.Folder, server: str) -> None:
    """Write the kubeconfig for kubectl; a real control plane first gets its certificates."""
    match shape.control_plane:
        case ControlPlane.BUILTIN:
            write(folder.kubeconfig, kubeconfig(f"http://{server}", shape.name))
        case ControlPlane.REAL:
            from harness.clusters.embedded.authority import make  # noqa: PLC0415  # heavy

            pki = make(folder.pki, [one for node in shape.plan() for one in node.host.addresses])
            url = f"https://{server}"
            for client, path in (
                (Client.ADMIN, folder.kubeconfig),
                (Client.HARNESS, folder.harness_kubeconfig),
            ):
                write(path, kubeconfig(url, shape.name, pki.ca, pki.credentials(client)))


def _start(
    shape: Shape, folder: state.Folder, descriptors: tuple[int, int, int]
) -> subprocess.Popen[bytes]:
    lifeline, lock, listener = descriptors
    argv = (
        *_NAMESPACES,
        *(sys.executable, "-m", "harness.clusters.embedded.supervisor"),
        *("--folder", str(folder.path), "--shape", shape.to_json()),
        *("--lifeline", str(lifeline), "--lock", str(lock), "--api-listener", str(listener)),
    )
    source = str(Path(harness.__file__).parent.parent)
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    tools = (os.environ.get("PATH", os.defpath), *ADMIN_PATHS)
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PATH": os.pathsep.join(tools),
    }
    with (folder.logs / "supervisor.log").open("ab") as log:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            cwd="/",
            pass_fds=descriptors,
            start_new_session=True,
        )


def _follow(lifeline: socket.socket, tell: Tell, log: Path) -> None:
    lifeline.settimeout(_SILENCE_SECONDS)
    while True:
        try:
            packet, _ = wire.receive(lifeline)
        except TimeoutError:
            packet = {"error": f"the supervisor said nothing for {_SILENCE_SECONDS:.0f} s"}
        if packet.get("built"):
            lifeline.settimeout(None)
            return
        if "step" not in packet:
            message = packet.get("error") or f"the supervisor ended:\n{_tail(log)}"
            raise ClusterError(f"the cluster did not come up: {message}")
        tell(packet["step"], packet["done"], packet["of"])


def _tail(log: Path, lines: int = 15) -> str:
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _give_up(launched: Launched | None, lifeline: socket.socket, folder: state.Folder) -> None:
    lifeline.close()
    if launched is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            launched.unshare.wait(_ORDERLY_SECONDS)
        launched.unshare.kill()
        launched.unshare.wait()
    _until_released(folder)


def end(folder: state.Folder, tell: Tell) -> None:
    """Take a cluster down: in an orderly way, else by force. Returns when all of it is gone."""
    facts = folder.facts()
    with contextlib.closing(Tree(facts.get("pid", -1), facts.get("started", -1))) as tree:
        with contextlib.suppress(ClusterError, OSError), wire.connect(folder.control) as link:
            wire.send(link, {"do": "down"})
        try:
            tree.end(_ORDERLY_SECONDS, _KILLED_SECONDS, tell)
        except ClusterError as error:
            raise ClusterError(f"cluster {folder.name}: {error}") from error
    _until_released(folder)


def _until_released(folder: state.Folder) -> None:
    """Wait for the lock's last holder (``unshare``) and remove what is left of the folder."""
    deadline = time.monotonic() + _ORDERLY_SECONDS
    while folder.alive():
        if time.monotonic() > deadline:
            message = f"cluster {folder.name} does not end; see {folder.logs}/supervisor.log"
            raise ClusterError(message)
        time.sleep(0.01)
    state.release(folder)
