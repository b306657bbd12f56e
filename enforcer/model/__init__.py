"""The nouns of a cluster as NetworkPolicy sees them: frozen values, no I/O, nothing of nftables.

Absence has a name here. A missing list and an empty list mean different things in a
NetworkPolicy; decoding (:mod:`enforcer.kube.decode`) turns both into explicit types, and no later
stage decides on ``None``.
"""
