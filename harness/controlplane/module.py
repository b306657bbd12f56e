"""The small Go module by which Kubernetes' programs are built from their published modules.

``k8s.io/kubernetes`` asks for its staging modules (``k8s.io/api`` and others) at v0.0.0 and
replaces them by folders that a published module does not have. So they are replaced here by the
releases that belong to it: v1.34.3 goes with v0.34.3.
"""

from __future__ import annotations

import re

KUBERNETES = "k8s.io/kubernetes"
ETCD_SERVER = "go.etcd.io/etcd/server/v3"
_STAGING = re.compile(r"^\s*(k8s\.io/[a-z0-9.-]+) => \./staging/", re.MULTILINE)
_GO = re.compile(r"^go (\d+)\.(\d+)", re.MULTILINE)
_ETCD = re.compile(r"^\s*go\.etcd\.io/etcd/client/v3 (v\S+)", re.MULTILINE)
_VERSION_PACKAGE = "k8s.io/component-base/version"


def packages(programs: tuple[str, ...]) -> tuple[str, ...]:
    """Return the import paths of programs."""
    return tuple(ETCD_SERVER if name == "etcd" else f"{KUBERNETES}/cmd/{name}" for name in programs)


def staging_version(version: str) -> str:
    """Return the version of the staging modules: v1.34.3 goes with v0.34.3."""
    return re.sub(r"^v1\.", "v0.", version)


def least_go(kubernetes_mod: str) -> tuple[int, int]:
    """Return the oldest Go that Kubernetes' own go.mod allows."""
    match = _GO.search(kubernetes_mod)
    return (int(match[1]), int(match[2])) if match else (1, 21)


def go_mod(version: str, kubernetes_mod: str) -> str:
    """Return the go.mod of a module that builds one version, given Kubernetes' own go.mod."""
    etcd = _ETCD.search(kubernetes_mod)
    requirements = [f"require {KUBERNETES} {version}"]
    if etcd:
        requirements.append(f"require {ETCD_SERVER} {etcd[1]}")
    staging = staging_version(version)
    replacements = [f"replace {m} => {m} {staging}" for m in _STAGING.findall(kubernetes_mod)]
    language = ".".join(map(str, least_go(kubernetes_mod)))
    head = ["module controlplane.invalid/build", f"go {language}"]
    return "\n".join([*head, *requirements, *replacements]) + "\n"


def linker_flags(version: str) -> str:
    """Return the flags that make programs small, and able to say their version."""
    major, minor, _ = version.removeprefix("v").split(".", 2)
    said = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return "-s -w " + " ".join(f"-X {_VERSION_PACKAGE}.{k}={v}" for k, v in said.items())
