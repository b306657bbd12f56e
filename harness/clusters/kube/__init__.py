"""What every real Kubernetes cluster has in common, however one came by it.

:mod:`~harness.clusters.kube.kubectl` is the way in, with a user's own tool and rights. A privileged
agent on each node (:mod:`~harness.clusters.kube.agents`) runs the prober there, which enters pods
by their sandboxes' network namespaces (:mod:`~harness.clusters.kube.sandboxes`). Nothing here makes
clusters, and nothing knows of enforcers.
"""
