"""Manifests of the harness's, as real clusters can run them.

Scenarios say ``image: nginx`` and the ports that a pod serves. On a real cluster the workload image
of ours stands for nginx: its nginx serves the TCP ports, and the node's prober has an echo server
in the pod's network for each port of another protocol.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.clusters.base import Manifest

_NGINX = "nginx"
_TCP = "TCP"
_HTTP = 80
_CONFIG = "NGINX_CONFIG"
_COMMAND = 'printf %s "$NGINX_CONFIG" > /tmp/nginx.conf; exec /usr/sbin/nginx -c /tmp/nginx.conf'

Port = tuple[str, int]
"""Protocol and number."""


def dressed(manifest: Manifest, image: str) -> Manifest:
    """Return a manifest whose pods run ``image`` where it says nginx; others stay as they are."""
    if manifest.get("kind") != "Pod":
        return manifest
    made = copy.deepcopy(manifest)
    spec = made["spec"]
    spec.setdefault("enableServiceLinks", False)
    spec.setdefault("automountServiceAccountToken", False)
    spec.setdefault("restartPolicy", "Never")
    for container in spec["containers"]:
        if is_nginx(container):
            container["image"] = image
            container["imagePullPolicy"] = "IfNotPresent"
            container.update(_serving(container))
    return made


def is_nginx(container: Mapping[str, Any]) -> bool:
    """Whether a container is nginx and nothing else."""
    name = str(container.get("image", "")).rpartition("/")[2].partition(":")[0]
    return name == _NGINX and not container.get("command")


def echo_ports(pod: Manifest) -> Iterator[Port]:
    """Yield the ports that a pod of ours does not serve by itself."""
    for container in pod["spec"]["containers"]:
        if _names_config(container):
            for port in container.get("ports") or ():
                if port.get("protocol", _TCP) != _TCP:
                    yield port["protocol"], int(port["containerPort"])


def _names_config(container: Mapping[str, Any]) -> bool:
    return any(one["name"] == _CONFIG for one in container.get("env") or ())


def _serving(container: Mapping[str, Any]) -> dict[str, Any]:
    ports = [
        int(port["containerPort"])
        for port in container.get("ports") or ()
        if port.get("protocol", _TCP) == _TCP
    ]
    config = nginx_config(sorted(set(ports)) or [_HTTP])
    environment = [*(container.get("env") or ()), {"name": _CONFIG, "value": config}]
    return {"command": ["/bin/sh", "-c", _COMMAND], "env": environment}


def nginx_config(ports: Sequence[int]) -> str:
    """Return a small configuration: every port answers with the host's name and its client."""
    listens = "\n".join(f"    listen {port}; listen [::]:{port};" for port in ports)
    temporary = "\n".join(
        f"  {name}_temp_path /tmp/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
user root root;
daemon off;
master_process off;
pid /tmp/nginx.pid;
error_log stderr error;
events {{
  worker_connections 4096;
}}
http {{
  access_log off;
  tcp_nodelay on;
  keepalive_requests 1000000;
  keepalive_timeout 1d;
{temporary}
  server {{
{listens}
    default_type text/plain;
    return 200 "$hostname to $remote_addr\\n";
  }}
}}
"""
