"""A stand-in for kube-router's binary: its flags, its health and its log, with the model's rules.

Not kube-router, and nothing of its code: as much of the 0.x line's surface as the harness has to
cope with when it runs a binary. What it does on a node is ``kube-router-0.2-model``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from harness.enforcers.kube_router_model.__main__ import Settings, run


def main() -> None:
    """Read kube-router's flags, then run the model."""
    parser = argparse.ArgumentParser(prog="stand-in", allow_abbrev=False)
    parser.add_argument("--version", action="version", version="stand-in for kube-router 0.x")
    for flag in ("run-router", "run-firewall", "run-service-proxy", "kubeconfig", "v"):
        parser.add_argument(f"--{flag}", required=flag == "kubeconfig")
    parser.add_argument("--iptables-sync-period", default="5m")
    parser.add_argument("--cache-sync-timeout", default="1m")
    flags = parser.parse_args()
    period = seconds(flags.iptables_sync_period)
    run(Settings(Path(flags.kubeconfig), os.environ["NODE_NAME"], period=period))


def seconds(duration: str) -> float:
    """Read a duration such as ``1s`` or ``5m``."""
    return float(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


if __name__ == "__main__":
    main()
