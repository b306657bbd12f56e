"""Kubernetes API to model objects: list, watch, resume, slim decoding, authentication.

The only importer of an HTTP client. Nothing of what a policy means and nothing of nftables.

- :func:`connect` opens a session, :func:`watch_cluster` mirrors the cluster through it
- :func:`load_cluster` lists it once; :func:`load_dump` reads it out of a file instead
- :func:`find_unenforced` names policies of kinds that are not enforced here
"""

from enforcer.kube.client import connect
from enforcer.kube.dump import load_dump
from enforcer.kube.reflector import watch_cluster
from enforcer.kube.snapshot import load_cluster
from enforcer.kube.unenforced import Unenforced, find_unenforced

__all__ = [
    "Unenforced",
    "connect",
    "find_unenforced",
    "load_cluster",
    "load_dump",
    "watch_cluster",
]
