"""PID 1 of an embedded cluster: builds it, starts its programs, runs what it is asked to run.

Started by :mod:`launch` through ``unshare`` in new mount, PID and network namespaces. It dies
with its cluster and the cluster with it. While ``up`` is under way, and for a cluster that is
used as a context manager, the *lifeline* (a socket to the client) ends it when the client ends;
``detach`` on the lifeline lets it stay.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from harness.clusters.embedded import fabric, kubeproxy, outside, proxy, state, wire
from harness.clusters.embedded.addresses import (
    API_PORT,
    CONTROL_PLANE_ADDRESS,
    OUTSIDE_NAMESPACE,
    NodePlan,
    namespace_of_node,
)
from harness.clusters.embedded.adminapi import AdminApi
from harness.clusters.embedded.children import Children, Program
from harness.clusters.embedded.kubeconfig import kubeconfig, write
from harness.clusters.embedded.log import say
from harness.clusters.embedded.namespaces import (
    CLONE_NEWUTS,
    NETNS_DIR,
    mount,
    unmount,
    unshare,
)
from harness.clusters.embedded.pki import Client, Pki
from harness.clusters.embedded.places import Places
from harness.clusters.embedded.realplane import KUBE_PROXY, URL, RealPlane
from harness.clusters.embedded.refusals import refusals
from harness.clusters.embedded.rights import bootstrap
from harness.clusters.embedded.settings import ControlPlane, Proxy, Shape

_BACKLOG = 256
_NOTHING: Mapping[str, str] = MappingProxyType({})
_START_TIMEOUT = 240.0
_CAUSES_SECONDS = 1.0
"""After one program has ended, what made it end may still be on its way to its own end: the API
server's connections break before it is gone, and who holds one may be gone first."""


class Supervisor:
    """The state of PID 1."""

    def __init__(self, shape: Shape, folder: state.Folder, lifeline: socket.socket) -> None:
        """Remember what to build; nothing is built yet."""
        self._shape = shape
        self._folder = folder
        self._lifeline = lifeline
        self._children = Children()
        self._places = Places(folder.path)
        self._ending = threading.Lock()
        self._started: list[str] = []
        self._ended: dict[str, int] = {}
        self._stay = False

    def run(self, api_listener: int) -> None:
        """Build the cluster, say so, and serve requests until told to end."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(self._folder.control))
        listener.listen(_BACKLOG)
        threading.Thread(target=self._watch_lifeline, daemon=True).start()
        building = threading.Thread(target=self._build, args=(api_listener,), daemon=True)
        accepting = threading.Thread(target=self._accept, args=(listener,), daemon=True)
        asyncio.run(self._reap_until_told(building, accepting))

    async def _reap_until_told(self, *threads: threading.Thread) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._children.reap)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.end)
        for thread in threads:
            thread.start()
        await asyncio.Event().wait()

    def end(self) -> NoReturn:
        """Remove the folder and exit: the kernel removes everything else."""
        self._ending.acquire()
        with contextlib.suppress(OSError):
            unmount(self._folder.scratch)
        state.drop(self._folder)
        os._exit(0)

    # ---- building ----

    def _build(self, api_listener: int) -> None:
        try:
            self._tell("links between the nodes", 0)
            fabric.build(self._shape, lambda done: self._tell("links between the nodes", done))
            self._places.prepare(self._shape.plan())
            fabric.in_thread(self._start_outside)
            self._start_control_plane(api_listener)
            self._tell("node agent and prober", 0)
            self._start_prober()
            self._start_agent()
            if self._shape.proxy is not Proxy.NFTABLES:
                self._start_kube_proxies()
            wire.send(self._lifeline, {"built": True})
            # The prober asked to end with the thread that started it: this one stays.
            threading.Event().wait()
        except Exception as error:  # noqa: BLE001  # the client is told whatever went wrong
            traceback.print_exc()
            with contextlib.suppress(OSError):
                wire.send(self._lifeline, {"error": f"{type(error).__name__}: {error}"})
            self.end()

    def _tell(self, step: str, done: int) -> None:
        wire.send(self._lifeline, {"step": step, "done": done, "of": self._shape.nodes})

    def _start_outside(self) -> None:
        """Start the outside host's server; the calling thread stays there."""
        self._places.enter(OUTSIDE_NAMESPACE)
        unshare(CLONE_NEWUTS)
        socket.sethostname(OUTSIDE_NAMESPACE)
        outside.reject_the_rest()
        self._start("nginx-outside", outside.command(self._folder.scratch))
        outside.wait_listening()

    def _start_control_plane(self, listener: int) -> None:
        match self._shape.control_plane:
            case ControlPlane.BUILTIN:
                self._tell("API server", 0)
                self._start_builtin(listener)
            case ControlPlane.REAL:
                self._tell(f"Kubernetes {self._shape.kubernetes}", 0)
                self._start_real(listener)

    def _start_real(self, listener: int) -> None:
        plane = self._plane()
        plane.start_storage_and_api(self._start)
        os.set_inheritable(listener, True)  # noqa: FBT003  # the standard library's
        flags = ["--listen-fd", str(listener), "--address", str(CONTROL_PLANE_ADDRESS)]
        self._start_module(
            "harness.clusters.embedded.forward", [*flags, "--port", str(API_PORT)], "forward"
        )
        os.close(listener)
        write(self._folder.node_kubeconfig, kubeconfig(URL, self._shape.name, plane.pki.ca))
        admin = AdminApi(plane.pki)
        admin.wait_ready(_START_TIMEOUT, self._folder.logs / "kube-apiserver.log")
        admin.create([*bootstrap(), *refusals(self._shape.name)])
        plane.write_kubeconfig(Client.AGENT)
        plane.start_controllers(self._start)

    def _plane(self) -> RealPlane:
        shape = self._shape
        return RealPlane(
            shape.programs, Pki(self._folder.pki), self._folder.scratch, shape.ip_family
        )

    def _start_builtin(self, listener: int) -> None:
        inside = socket.create_server((str(CONTROL_PLANE_ADDRESS), API_PORT), backlog=_BACKLOG)
        inside.set_inheritable(True)  # the standard library's
        os.set_inheritable(listener, True)  # noqa: FBT003  # the standard library's
        flags = ["--listen-fd", str(listener), "--listen-fd", str(inside.fileno())]
        flags += ["--service-cidr", ",".join(map(str, self._shape.service_networks))]
        self._start_module("harness.clusters.embedded.apiserver", flags, "apiserver")
        os.close(listener)
        inside.close()
        url = f"http://{CONTROL_PLANE_ADDRESS}:{API_PORT}"
        write(self._folder.node_kubeconfig, kubeconfig(url, self._shape.name))
        _wait_for_http(f"{url}/readyz", self._folder.logs / "apiserver.log")

    def _start_agent(self) -> None:
        flags = ["--folder", str(self._folder.path), "--shape", self._shape.to_json()]
        self._start_module("harness.clusters.embedded.agent", flags, "agent")
        _wait_for_path(self._folder.agent, self._folder.logs / "agent.log")

    def _start_prober(self) -> None:
        self._start_module("harness.prober.agent", ["--socket", str(self._folder.prober)], "prober")
        _wait_for_path(self._folder.prober, self._folder.logs / "prober.log")

    def _start_kube_proxies(self) -> None:
        """Start a kube-proxy on each node, each from a thread that goes there."""
        plane = self._plane()
        credentials = plane.write_kubeconfig(Client.KUBE_PROXY)
        for number, node in enumerate(self._shape.plan()):
            self._tell(f"kube-proxy ({self._shape.proxy.mode})", number)
            config = self._folder.scratch / f"kube-proxy-{node.name}.yaml"
            config.write_text(kubeproxy.configuration(self._shape.proxy, node, credentials))
            argv = (self._shape.programs[KUBE_PROXY], f"--config={config}")
            name = f"{KUBE_PROXY}-{node.name}"
            fabric.in_thread(lambda node=node, argv=argv, name=name: self._go_to(node, name, argv))  # type: ignore[misc]

    def _go_to(self, node: NodePlan, name: str, argv: Sequence[str]) -> None:
        """Start a core program on a node; the calling thread stays there."""
        netns = namespace_of_node(node.name)
        self._places.enter(netns)
        rules = proxy.masquerade_rules(self._shape, node)
        subprocess.run(("nft", "-f", "-"), input=rules, text=True, check=True)
        self._start(name, argv, self._own_lock(netns))

    def _start_module(self, module: str, flags: Sequence[str], name: str) -> None:
        self._start(name, (sys.executable, "-m", module, *flags))

    def _start(self, name: str, argv: Sequence[str], more: Mapping[str, str] = _NOTHING) -> None:
        self._started.append(name)
        with _opened(self._log_of(name)) as output, _opened(Path(os.devnull)) as nothing:
            program = Program(argv, os.environ | more, (nothing, output, output))
            self._children.start(program, lambda code: self._core_exited(name, code))

    def _core_exited(self, name: str, code: int) -> None:
        """End the cluster: without one of its programs it is none."""
        self._ended[name] = code
        if len(self._ended) == 1:
            asyncio.get_running_loop().call_later(_CAUSES_SECONDS, self._give_up)

    def _give_up(self) -> None:
        """Say which programs have ended, what others need before those others; leave the logs."""
        ended = [name for name in self._started if name in self._ended]
        reasons = [self._reason(name) for name in ended]
        log = self._log_of(ended[0]).read_text(errors="replace").splitlines()
        reason = "\n".join([*reasons, *log[-15:]])
        self._ending.acquire()
        self._folder.note(died=reason)
        with contextlib.suppress(OSError):
            wire.send(self._lifeline, {"error": reason})
        os._exit(1)

    def _reason(self, name: str) -> str:
        reason = f"{name} ended with exit code {self._ended[name]}; its log: {self._log_of(name)}"
        say(reason)
        return reason

    def _log_of(self, name: str) -> Path:
        return self._folder.logs / f"{name}.log"

    # ---- the lifeline and the requests ----

    def _watch_lifeline(self) -> None:
        while True:
            packet, _ = wire.receive(self._lifeline)
            if packet.get("detach"):
                self._stay = True
            if not packet:
                break
        if not self._stay:
            self.end()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            link, _ = listener.accept()
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        """Answer one connection, in a thread that may move into other namespaces."""
        with link:
            packet, descriptors = wire.receive(link)
            try:
                match packet.get("do"):
                    case "run":
                        self._run_program(link, packet, descriptors)
                    case "note":
                        self._folder.note(**packet["facts"])
                        wire.send(link, {"status": "noted"})
                    case "down":
                        self.end()
                    case other:
                        wire.send(link, {"error": f"unknown request {other!r}"})
            except Exception as error:  # noqa: BLE001  # the client is told whatever went wrong
                with contextlib.suppress(OSError):
                    wire.send(link, {"error": str(error)})
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _run_program(self, link: socket.socket, packet: wire.Packet, given: list[int]) -> None:
        request = wire.Run(**packet["run"])
        self._places.enter(request.netns)
        os.chdir(request.cwd)
        exited = threading.Event()
        code = 0

        def note_exit(status: int) -> None:
            nonlocal code
            code = status
            exited.set()

        with contextlib.ExitStack() as stack:
            streams = given or self._log_streams(stack, request.log)
            env = self._environment(request)
            pidfds: list[int] = []
            pid = self._children.start(
                Program(request.argv, env, streams),
                note_exit,
                lambda pid: pidfds.append(os.pidfd_open(pid)),
            )
            wire.send(link, {"started": pid}, pidfds)
            os.close(*pidfds)
        if given:
            watcher = threading.Thread(target=_end_with, args=(link, pid, exited), daemon=True)
            watcher.start()
            exited.wait()
            wire.send(link, {"exited": code})

    def _log_streams(self, stack: contextlib.ExitStack, log: str) -> Sequence[int]:
        output = stack.enter_context(_opened(Path(log or os.devnull)))
        return (stack.enter_context(_opened(Path(os.devnull))), output, output)

    def _environment(self, request: wire.Run) -> Mapping[str, str]:
        """Return the program's environment; each node has an iptables lock of its own."""
        return self._own_lock(request.netns) | dict(request.env)

    def _own_lock(self, netns: str) -> dict[str, str]:
        return {"XTABLES_LOCKFILE": str(self._folder.scratch / f"{netns}.xtables.lock")}


def _end_with(link: socket.socket, pid: int, exited: threading.Event) -> None:
    """Kill a program whose client has gone."""
    with contextlib.suppress(OSError):
        link.recv(1)
    if not exited.is_set():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


@contextlib.contextmanager
def _opened(path: Path):  # type: ignore[no-untyped-def]  # noqa: ANN202
    """Open a file for reading and appending, as a descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _wait_for_http(url: str, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), opener.open(url, timeout=5):
            return
        time.sleep(0.02)
    message = f"{url} was not ready within {_START_TIMEOUT:.0f} s; see {log}"
    raise TimeoutError(message)


def _wait_for_path(path: Path, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not path.exists():
        if time.monotonic() > deadline:
            message = f"{path} did not appear within {_START_TIMEOUT:.0f} s; see {log}"
            raise TimeoutError(message)
        time.sleep(0.01)


def _prepare_process(folder: state.Folder) -> None:
    """Take the namespaces over: own /proc, own /run/netns, as many descriptors as allowed."""
    host_pid = int(Path("/proc/self").readlink().name)  # this is still the host's /proc
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    folder.note(pid=host_pid, started=int(started))
    mount("proc", Path("/proc"), "proc")
    mount("tmpfs", NETNS_DIR, "tmpfs")
    mount("tmpfs", folder.scratch, "tmpfs")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Run as PID 1; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="supervisor")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--shape", type=Shape.from_json, required=True)
    parser.add_argument("--lifeline", type=int, required=True)
    parser.add_argument("--lock", type=int, required=True)
    parser.add_argument("--api-listener", type=int, required=True)
    arguments = parser.parse_args()
    for descriptor in (arguments.lifeline, arguments.lock, arguments.api_listener):
        os.set_inheritable(descriptor, False)  # noqa: FBT003  # the standard library's
    folder = state.Folder(arguments.folder)
    _prepare_process(folder)
    lifeline = socket.socket(fileno=arguments.lifeline)
    Supervisor(arguments.shape, folder, lifeline).run(arguments.api_listener)


if __name__ == "__main__":
    main()
