"""The real control plane's programs: where they are found, and how the project's cache is filled.

:mod:`programs` looks for kube-apiserver and its like, :mod:`fill` is the recipe that fetches them
(:mod:`release`: the official download) or builds them (:mod:`toolchain`, :mod:`module` and
:mod:`build`: with Go, from their Go modules) into the cache. Nothing here starts a cluster.
"""
