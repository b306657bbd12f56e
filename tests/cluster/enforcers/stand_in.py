"""A stand-in for kube-router: its flags, its health, its log, and rules where it puts its rules.

Not kube-router, and nothing of its code: as much of what the 0.x line does to a node as the harness
has to cope with. Each isolated pod gets a chain that accepts replies, then what the node itself
sends, then what the pod's policies accept, and rejects the rest. FORWARD and OUTPUT jump to that
chain by the pod's address, once for routed and once for bridged packets. Hence it shares the
weakness that the harness has to find: a frame that the bridge does not show to iptables is not
judged. Selectors are matchLabels, ports are numbers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
PATHS = {
    "pods": "/api/v1/pods",
    "namespaces": "/api/v1/namespaces",
    "policies": "/apis/networking.k8s.io/v1/networkpolicies",
}
OWN = ("KUBE-POD-FW-", "KUBE-NWPLCY-")
ESTABLISHED = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"


def main() -> None:
    """Read the flags, then sync for ever."""
    parser = argparse.ArgumentParser(prog="stand-in", allow_abbrev=False)
    parser.add_argument("--version", action="version", version="stand-in for kube-router 0.x")
    for flag in ("run-router", "run-firewall", "run-service-proxy", "kubeconfig", "v"):
        parser.add_argument(f"--{flag}", required=flag == "kubeconfig")
    parser.add_argument("--iptables-sync-period", default="5m")
    parser.add_argument("--cache-sync-timeout", default="1m")
    flags = parser.parse_args()
    cluster = yaml.safe_load(Path(flags.kubeconfig).read_text())["clusters"][0]["cluster"]
    threading.Thread(target=HTTPServer(("", 20244), Healthy).serve_forever, daemon=True).start()
    while True:
        start = time.monotonic()
        try:
            sync(cluster["server"], os.environ["NODE_NAME"])
        except (OSError, subprocess.CalledProcessError) as error:
            say(f"Aborting sync. {error}")
        say(f"sync iptables took {time.monotonic() - start:.3f}s")
        time.sleep(seconds(flags.iptables_sync_period))


def seconds(duration: str) -> float:
    """Read a duration such as ``1s`` or ``5m``."""
    return float(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


def say(line: str) -> None:
    """Write a line of log."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class Healthy(BaseHTTPRequestHandler):
    """Answers 200 from the first moment on, as kube-router does."""

    def do_GET(self) -> None:
        """Say OK."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"OK\n")

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def sync(server: str, node: str) -> None:
    """Make this node's rules what the cluster's policies ask for now."""
    world = {}
    for kind, path in PATHS.items():
        with urllib.request.urlopen(server + path, timeout=10) as answer:  # noqa: S310
            world[kind] = json.load(answer)["items"]
    sets, chains, jumps = rules(world, node)
    tool("ipset", "restore", "-exist", text="".join(sets))
    saved = tool("iptables-save", "-t", "filter").splitlines()
    old = [line for line in saved if line.startswith(("-A FORWARD", "-A OUTPUT")) and own(line)]
    stale = [line[1:].split()[0] for line in saved if line.startswith(tuple(":" + o for o in OWN))]
    gone = [name for name in stale if name not in chains]
    script = [
        "*filter",
        *(f":{name} - [0:0]" for name in chains),
        *("-D" + line[2:] for line in old),
        *(f"-A {name} {rule}" for name, body in chains.items() for rule in body),
        *(f"-I {jump}" for jump in jumps),
        *(f"-F {name}" for name in gone),
        *(f"-X {name}" for name in gone),
        "COMMIT\n",
    ]
    tool("iptables-restore", "--noflush", "--wait=10", text="\n".join(script))


def own(rule: str) -> bool:
    """Whether a rule's target is a chain of ours."""
    return rule.rsplit(maxsplit=1)[-1].startswith(OWN)


def tool(*argv: str, text: str = "") -> str:
    """Run iptables or ipset."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{argv}: {done.stderr.strip()}")
    return done.stdout


Built = tuple[list[str], dict[str, list[str]], list[str]]


def rules(world: dict[str, list[Object]], node: str) -> Built:
    """Return the lines for ipset, the chains with their rules, and the jumps to them."""
    sets: list[str] = []
    chains: dict[str, list[str]] = {}
    for policy in world["policies"]:
        chains[chain("KUBE-NWPLCY-", policy)] = policy_chain(policy, world, sets)
    jumps = []
    for pod in world["pods"]:
        if pod["spec"].get("nodeName") != node or not address(pod):
            continue
        mine = [p for p in world["policies"] if pod in selected(p, world)]
        name = chain("KUBE-POD-FW-", pod)
        if mine:
            chains[name] = [
                ESTABLISHED,
                f"-d {address(pod)} -m addrtype --src-type LOCAL -j ACCEPT",
                *(f"-j {chain('KUBE-NWPLCY-', policy)}" for policy in mine),
                "-j REJECT",
            ]
        kinds = {kind for policy in mine for kind in policy["spec"]["policyTypes"]}
        for kind, side in (("Egress", "-s"), ("Ingress", "-d")):
            if kind in kinds:
                jumps += [f"FORWARD 1 {side} {address(pod)} -j {name}"]
                bridged = "-m physdev --physdev-is-bridged"
                jumps += [f"FORWARD 1 {side} {address(pod)} {bridged} -j {name}"]
        if "Ingress" in kinds:
            jumps += [f"OUTPUT 1 -d {address(pod)} -j {name}"]
    return sets, chains, jumps


def policy_chain(policy: Object, world: dict[str, list[Object]], sets: list[str]) -> list[str]:
    """Return a policy's rules; the sets that they need are added to ``sets``."""
    target = ipset("KUBE-DST-", policy, "target", [address(p) for p in selected(policy, world)])
    sets += target[1]
    body = []
    for direction, key, peer_side, target_side in (
        ("ingress", "from", "src", "dst"),
        ("egress", "to", "dst", "src"),
    ):
        for number, rule in enumerate(policy["spec"].get(direction) or []):
            peers = ipset(
                "KUBE-SRC-", policy, f"{direction}{number}", members(policy, rule.get(key), world)
            )
            sets += peers[1]
            match = f"-m set --match-set {target[0]} {target_side} "
            if rule.get(key):
                match += f"-m set --match-set {peers[0]} {peer_side} "
            body += [f"{match}{port}-j ACCEPT" for port in ports(rule)]
    return body


def ports(rule: Object) -> list[str]:
    """Return one match for each port of a rule; one that matches everything where it has none."""
    named = [(p.get("protocol", "TCP").lower(), p["port"]) for p in rule.get("ports") or []]
    return [f"-p {protocol} --dport {port} " for protocol, port in named] or [""]


def members(
    policy: Object, peers: list[Object] | None, world: dict[str, list[Object]]
) -> list[str]:
    """Return the addresses and ranges of a rule's peers."""
    found = []
    for peer in peers or []:
        if "ipBlock" in peer:
            found += [peer["ipBlock"]["cidr"]]
            found += [f"{cidr} nomatch" for cidr in peer["ipBlock"].get("except") or []]
            continue
        spaces = [policy["metadata"]["namespace"]]
        if "namespaceSelector" in peer:
            spaces = [
                n["metadata"]["name"]
                for n in world["namespaces"]
                if matches(peer["namespaceSelector"], n)
            ]
        found += [
            address(pod)
            for pod in world["pods"]
            if pod["metadata"]["namespace"] in spaces
            and address(pod)
            and matches(peer.get("podSelector", {}), pod)
        ]
    return found


def selected(policy: Object, world: dict[str, list[Object]]) -> list[Object]:
    """Return the pods that a policy isolates."""
    space = policy["metadata"]["namespace"]
    return [
        pod
        for pod in world["pods"]
        if pod["metadata"]["namespace"] == space
        and address(pod)
        and matches(policy["spec"].get("podSelector", {}), pod)
    ]


def matches(selector: Object, thing: Object) -> bool:
    """Whether a thing carries all labels that a selector names."""
    labels = thing["metadata"].get("labels", {})
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items())


def address(pod: Object) -> str:
    """Return a pod's address; empty where it has none yet."""
    found: str = pod.get("status", {}).get("podIP", "")
    return found


def chain(prefix: str, thing: Object, what: str = "") -> str:
    """Return the name of a chain or set for a thing: a hash behind kube-router's prefix."""
    whose = f"{thing['metadata']['namespace']}/{thing['metadata']['name']}/{what}"
    return prefix + hashlib.sha256(whose.encode()).hexdigest()[:16].upper()


def ipset(prefix: str, policy: Object, what: str, addresses: list[str]) -> tuple[str, list[str]]:
    """Return a set's name and the lines that make it hold ``addresses`` and nothing else."""
    name = chain(prefix, policy, what)
    scratch = f"{name}-"
    make = [f"create {n} hash:net timeout 0\n" for n in (name, scratch)]
    fill = [
        f"add {scratch} {address} timeout 0\n".replace(" nomatch timeout 0", " timeout 0 nomatch")
        for address in addresses
        if address
    ]
    return name, [*make, *fill, f"swap {name} {scratch}\n", f"destroy {scratch}\n"]


if __name__ == "__main__":
    main()
