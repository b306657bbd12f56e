"""A node in a network namespace: an API server, a proxy before it that lies, and the daemon."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from tests.kernel.api.lying_proxy import Json, LyingProxy
from tests.kernel.netlab import Namespace, run, wait_until

T = TypeVar("T")

ROOT: Final = Path(__file__).parents[3]
PROXY_PORT, API_PORT, HEALTH_PORT = 6443, 6444, 20244
PODS: Final = "10.1.0.0/24"
# The daemon as it is, but for its patience: what takes minutes takes seconds.
DAEMON: Final = """
from enforcer import observer
from enforcer.cli import main
from enforcer.kube import reflector
hurried = {"page_size": 2, "stall_seconds": 3.0, "backoff_most": 0.5, "reminder": 1.0}
for name, value in hurried.items():
    object.__setattr__(reflector.DEFAULT_TIMING, name, value)
observer.FOLLOW_PATIENCE = 3.0
main()
"""

_nodes = count()


class Node:
    """The namespace and what runs in it; ``with`` builds it, without the daemon."""

    def __init__(self, folder: Path) -> None:
        """Keep files in ``folder``."""
        self._folder = folder
        self._name = f"npdliar-{os.getpid()}-{next(_nodes)}"
        self._stack = ExitStack()
        self._loop = asyncio.new_event_loop()
        self.log = folder / "log"
        self.token_file = folder / "token"
        self.daemon: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Build the namespace, the API server with one Node, and the proxy."""
        run("ip", "netns", "add", self._name)
        self._stack.callback(run, "ip", "netns", "del", self._name)
        run("ip", "-n", self._name, "link", "set", "lo", "up")
        self._space, self._proxy_space = Namespace(self._name), Namespace(self._name)
        self._stack.callback(self._space.close)
        self._stack.callback(self._proxy_space.close)
        self._serve_api()
        self._stack.callback(self._loop.call_soon_threadsafe, self._loop.stop)
        self._proxy_space._thread.submit(self._loop.run_forever)
        self.open_proxy()
        spec = {"podCIDR": PODS, "podCIDRs": [PODS]}
        self.post("/api/v1/nodes", {"kind": "Node", "metadata": {"name": "n1"}, "spec": spec})
        self._write_kubeconfig()
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        if self.daemon is not None:
            self.kill_daemon()
        self._do(self.proxy.close())
        self._do(_end_tasks())
        self._stack.close()
        self._loop.close()

    # --- programs -----------------------------------------------------------------------------

    def start_daemon(self) -> subprocess.Popen[bytes]:
        """Start the daemon."""
        flags = ["run", "--node-name=n1", f"--kubeconfig={self._folder / 'kubeconfig'}"]
        inside = ["ip", "netns", "exec", self._name, sys.executable, "-c", DAEMON, *flags]
        with self.log.open("ab") as log:
            self.daemon = self._started(subprocess.Popen(inside, cwd=ROOT, stderr=log))
        return self.daemon

    def kill_daemon(self) -> None:
        """End the daemon as the kernel does when memory is short."""
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()

    def open_proxy(self) -> None:
        """Put a new, honest proxy before the API server."""
        self.proxy = LyingProxy(f"http://127.0.0.1:{API_PORT}")
        self._do(self.proxy.open(self._space.call(_listener, PROXY_PORT)))

    def cut(self) -> None:
        """Break every connection off."""
        self._do(self.proxy.cut())

    def stall(self) -> None:
        """Fall silent."""
        self._do(self.proxy.stall())

    def flow(self) -> None:
        """Speak again."""
        self._do(self.proxy.flow())

    def close_proxy(self) -> None:
        """Refuse connections."""
        self._do(self.proxy.close())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _serve_api(self) -> None:
        with self._space.call(_listener, API_PORT) as listening:
            number = listening.fileno()
            argv = [sys.executable, "-m", "harness.clusters.embedded.apiserver"]
            argv.append(f"--listen-fd={number}")
            self._started(subprocess.Popen(argv, cwd=ROOT, pass_fds=[number]))

    def _started(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def _write_kubeconfig(self) -> None:
        self.token_file.write_text("first")
        config = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{PROXY_PORT}"}}],
            "users": [{"name": "u", "user": {"tokenFile": str(self.token_file)}}],
        }
        (self._folder / "kubeconfig").write_text(json.dumps(config))

    # --- the cluster --------------------------------------------------------------------------

    def post(self, path: str, body: Json) -> None:
        """Create an object, past the proxy."""
        self._curl("POST", path, {"apiVersion": "v1"} | body)

    def patch(self, path: str, body: Json) -> None:
        """Merge into an object, past the proxy."""
        self._curl("PATCH", path, body, "application/merge-patch+json")

    def delete(self, path: str) -> None:
        """Delete an object, past the proxy."""
        self._curl("DELETE", path, None)

    def _curl(
        self, method: str, path: str, body: Json | None, kind: str = "application/json"
    ) -> None:
        data = [] if body is None else ["-H", f"Content-Type: {kind}", "-d", json.dumps(body)]
        url = f"http://127.0.0.1:{API_PORT}{path}"
        self._space.run("curl", "-sS", "--fail-with-body", "-X", method, *data, url)

    def pod(self, name: str, address: str, labels: Json) -> None:
        """Make a pod of this node, in namespace default."""
        containers = [{"name": "main", "image": "busybox"}]
        self.post(
            "/api/v1/namespaces/default/pods",
            {
                "kind": "Pod",
                "metadata": {"name": name, "labels": labels},
                "spec": {"nodeName": "n1", "containers": containers},
            },
        )
        self.patch(
            f"/api/v1/namespaces/default/pods/{name}/status",
            {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}},
        )

    def policy(self, name: str, selected: Json) -> None:
        """Deny all ingress to pods with some labels."""
        spec = {"podSelector": {"matchLabels": selected}, "policyTypes": ["Ingress"]}
        body = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name},
            "spec": spec,
        }
        self.post("/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", body)

    def drop_policy(self, name: str) -> None:
        """Delete a policy."""
        self.delete(f"/apis/networking.k8s.io/v1/namespaces/default/networkpolicies/{name}")

    # --- what is seen -------------------------------------------------------------------------

    def status(self, path: str) -> str:
        """Return the HTTP status of the daemon's answer; 000 when there is none."""
        ask = f"curl -so /dev/null -w '%{{http_code}}' http://127.0.0.1:{HEALTH_PORT}{path} || true"
        return self._space.run("sh", "-c", ask)

    def reasons(self) -> str:
        """Return what the daemon says of its readiness."""
        return self._space.run("curl", "-s", f"http://127.0.0.1:{HEALTH_PORT}/readyz")

    def metric(self, line: str) -> float:
        """Return a metric by its name and labels."""
        text = self._space.run("curl", "-sf", f"http://127.0.0.1:{HEALTH_PORT}/metrics")
        found = [row.rpartition(" ")[2] for row in text.splitlines() if row.startswith(f"{line} ")]
        return float(found[0]) if found else 0.0

    def events(self) -> str:
        """Return the events in namespace default, as the API server has them."""
        url = f"http://127.0.0.1:{API_PORT}/api/v1/namespaces/default/events"
        return self._space.run("curl", "-s", url)

    def is_isolated(self, address: str, direction: str = "in") -> bool:
        """Whether the kernel's dispatch map sends a pod to a class."""
        return address in self._list("map", f"{direction}_d4")

    def knows(self, address: str) -> bool:
        """Whether a pod is programmed."""
        return address in self._list("set", "pods4")

    def ruleset(self) -> str:
        """Return everything in the kernel, but for what counts."""
        return self._space.run("nft", "-s", "list", "ruleset")

    def run(self, *command: str) -> str:
        """Run a program on the node."""
        return self._space.run(*command)

    def call(self, function: Callable[[], T]) -> T:
        """Run a function on the node."""
        return self._space.call(function)

    def _list(self, what: str, name: str) -> str:
        ask = f"nft list {what} ip npd {name} 2>/dev/null || true"
        return self._space.run("sh", "-c", ask)

    def follows(self) -> None:
        """Wait until a change, to and back, is in the kernel: enforcement is alive."""
        self.policy("probe", {"app": "probe"})
        wait_until(lambda: self.is_isolated("10.1.0.9"), 60)
        self.drop_policy("probe")
        wait_until(lambda: not self.is_isolated("10.1.0.9"), 60)


async def _end_tasks() -> None:
    """Cancel what still runs in this loop."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _listener(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))
