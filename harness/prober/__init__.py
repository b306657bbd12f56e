"""A fast prober: real connections out of any network namespace, answered in milliseconds.

:mod:`~harness.prober.agent` is a process among the cluster's namespaces;
:mod:`~harness.prober.client` speaks to it over a Unix socket with the messages of
:mod:`~harness.prober.protocol`. What a probe saw is named by
:class:`harness.clusters.base.Verdict`. Nothing here knows of Kubernetes, of policies, or of what a
probe should have seen.
"""
