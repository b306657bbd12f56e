"""The shape of our table: hooks, chains, sets and their names.

:func:`enforcer.ruleset.lower.lower` turns a CompiledPolicy and the node's wiring into a
:class:`~enforcer.nft.objects.Ruleset`. A fixed program, data that changes: rules never grow with
pods, peers or policies; only sets, maps and the handful of rules of each class do.
"""
