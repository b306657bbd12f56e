"""Kubeconfig files: plain HTTP to our own API server, on the host's loopback or on the fabric."""

from __future__ import annotations

import json


def kubeconfig(server: str, name: str) -> str:
    """Return a kubeconfig (JSON is YAML) for a server without authentication."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": name, "user": {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return json.dumps(config, indent=2) + "\n"
