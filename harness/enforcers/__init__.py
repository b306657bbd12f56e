"""Enforcers behind one protocol (:class:`harness.enforcers.base.Enforcer`).

``none``, ``bundled`` (run as a program, never imported), ``kube-router=PATH``.
"""
