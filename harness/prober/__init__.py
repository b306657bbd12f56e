"""A fast prober: real connections out of any network namespace, answered in milliseconds.

:mod:`~harness.prober.agent` is a process among the cluster's namespaces;
:mod:`~harness.prober.client` speaks to it over a Unix socket with the messages of
:mod:`~harness.prober.protocol`. What a probe saw is a :class:`harness.clusters.base.Outcome`.
Nothing here knows of Kubernetes, of policies, or of what a probe should have seen.

Reading order: :mod:`sockets` (other namespaces' sockets), :mod:`ways` (what each transport does),
:mod:`verdicts` (what errors mean), :mod:`attempts` (one probe), :mod:`held` (connections that
stay), :mod:`servers` and :mod:`hearing` (who answers), :mod:`pulse` (how late all this is itself).
"""
