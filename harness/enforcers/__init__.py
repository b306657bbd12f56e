"""Enforcers behind one protocol: how to run, switch, watch and remove what is judged.

``none``, ``bundled`` (run as a program, never imported), ``present`` (whatever a cluster has, never
touched), ``kube-router=PATH``, ``kube-router-0.2-model``, which has the rule layout of the study's
version without its binary, and the yardstick ``linear-rules=N``. :func:`make_enforcer` turns the
command line's words into one of them, :func:`make_enforcers` into those that share the nodes of one
run. Nothing here knows
policies, probes or load, and nothing here imports the enforcer.
"""

from __future__ import annotations

from harness.enforcers.registry import CHOICES, make_enforcer, make_enforcers

__all__ = ["CHOICES", "make_enforcer", "make_enforcers"]
