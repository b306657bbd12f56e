"""The table of checks, and how all of them are made."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from harness.doctor import kernel, programs
from harness.doctor.findings import Finding


class Need(enum.Enum):
    """What a check decides."""

    MAIN_JOB = "main job"
    """Without it there is no embedded cluster, and so no run."""
    OPTION = "option"
    """Without it one option, or one kind of cluster, cannot be had."""


class Area(enum.Enum):
    """Where a check looks: the headings of the doctor's table."""

    MACHINE = "machine"
    KERNEL = "kernel"
    TOOLS = "tools"
    CLUSTERS = "for more clusters"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a machine may have."""

    area: Area
    name: str
    need: Need
    serves: str
    """What runs with it, and so cannot be run without it."""
    look: Callable[[], Finding]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A check and what it saw."""

    check: Check
    finding: Finding

    @property
    def stops_main_job(self) -> bool:
        """Whether no cluster can be built for want of this."""
        return self.check.need is Need.MAIN_JOB and not self.finding.present


_MACHINE = partial(Check, Area.MACHINE)
_KERNEL = partial(Check, Area.KERNEL)
_TOOLS = partial(Check, Area.TOOLS)
_CLUSTERS = partial(Check, Area.CLUSTERS)
_KUBE_ROUTER = "--enforcer kube-router=PATH"
_EVIDENCE = "evidence beside a wrong verdict"
_MAIN, _OPTION = Need.MAIN_JOB, Need.OPTION

CHECKS: tuple[Check, ...] = (
    _MACHINE("size", _OPTION, "large studies", kernel.look_machine),
    _MACHINE("root", _MAIN, "network namespaces: every pod and node", kernel.look_root),
    _MACHINE(
        "user namespaces",
        _OPTION,
        "this table without root",
        kernel.look_user_namespaces,
    ),
    _KERNEL("nf_tables", _MAIN, "every packet program", kernel.look_nf_tables),
    _KERNEL("conntrack", _MAIN, "judging a connection once", kernel.look_conntrack),
    _KERNEL("nat", _MAIN, "Services", kernel.look_nat),
    _KERNEL("veth", _MAIN, "the pods' wires", kernel.look_veth),
    _KERNEL("bridge family", _OPTION, "--cni bridged", kernel.look_bridge_family),
    _KERNEL(
        "br_netfilter", _OPTION, "--cni bridged --bridge-netfilter on", kernel.look_br_netfilter
    ),
    _KERNEL("flowtables", _OPTION, "the fast path", kernel.look_flowtables),
    _KERNEL("SCTP conntrack", _OPTION, "policies for SCTP", kernel.look_sctp_conntrack),
    _KERNEL("SCTP sockets", _OPTION, "probes by SCTP", kernel.look_sctp_sockets),
    _KERNEL("IPVS", _OPTION, "--proxy kube-proxy-ipvs", kernel.look_ipvs),
    _TOOLS("python", _MAIN, "all of it", programs.look_python),
    _TOOLS("nft", _MAIN, "packet programs", partial(programs.look_tool, "nft", "--version")),
    _TOOLS("ip", _MAIN, "pods and nodes", partial(programs.look_tool, "ip", "-V")),
    _TOOLS("unshare", _MAIN, "namespaces", partial(programs.look_tool, "unshare", "--version")),
    _TOOLS("nginx", _MAIN, "the servers in pods", partial(programs.look_tool, "nginx", "-v")),
    _TOOLS("ab", _MAIN, "requests per second", partial(programs.look_tool, "ab", "-V")),
    _TOOLS(
        "locust", _MAIN, "load over many services", partial(programs.look_distribution, "locust")
    ),
    _TOOLS("sysctl", _OPTION, _EVIDENCE, partial(programs.look_tool, "sysctl", "-V")),
    _TOOLS("curl", _OPTION, "requests by hand", partial(programs.look_tool, "curl", "--version")),
    _TOOLS("iptables", _OPTION, _KUBE_ROUTER, partial(programs.look_tool, "iptables", "--version")),
    _TOOLS("ipset", _OPTION, _KUBE_ROUTER, partial(programs.look_tool, "ipset", "--version")),
    _TOOLS(
        "conntrack-tools",
        _OPTION,
        _EVIDENCE,
        partial(programs.look_tool, "conntrack", "--version"),
    ),
    _TOOLS(
        "qemu-system-x86_64",
        _OPTION,
        "./nox -s lab",
        partial(programs.look_tool, "qemu-system-x86_64", "--version"),
    ),
    _CLUSTERS("kubectl", _OPTION, "the embedded cluster by hand", programs.look_kubectl),
    _CLUSTERS("kube-apiserver", _OPTION, "--control-plane real", programs.look_kube_apiserver),
    _CLUSTERS("docker", _OPTION, "--cluster kind", programs.look_docker),
    _CLUSTERS("kind", _OPTION, "--cluster kind", programs.look_kind),
)
"""Every check, in the order in which the doctor tells them."""


def examine(checks: Iterable[Check] = CHECKS) -> tuple[Diagnosis, ...]:
    """Make the checks, in their order."""
    return tuple(Diagnosis(check, check.look()) for check in checks)
