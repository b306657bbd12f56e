"""Clusters behind one protocol (:class:`harness.clusters.base.Cluster`).

``embedded`` is built from network namespaces; kind and any kubeconfig come behind the same
protocol. Nothing here knows of enforcers, policies or load.
"""
