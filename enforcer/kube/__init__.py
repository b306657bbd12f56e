"""Kubernetes API to model objects: list, watch, resume, slim decoding, authentication.

The only importer of an HTTP client. Nothing of what a policy means and nothing of nftables.
"""

from enforcer.kube.dump import load_dump

__all__ = ["load_dump"]
