"""Clusters of kind: real Kubernetes nodes in containers of one machine.

:mod:`~harness.clusters.kind.tools` finds what is needed and downloads nothing,
:mod:`~harness.clusters.kind.config` is kind's configuration as a value,
:mod:`~harness.clusters.kind.provider` brings nodes up by pytest-kind's ``KindCluster``, and
:mod:`~harness.clusters.kind.network` wires their pods, where kind's own CNI is turned off: that one
enforces NetworkPolicy itself. :mod:`~harness.clusters.kind.outside` is a host beside the nodes, and
:mod:`~harness.clusters.kind.cluster` all of it behind the harness's protocol. pytest-kind is GPL-3,
and imported by the provider alone.
"""
