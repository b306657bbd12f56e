"""What every real Kubernetes cluster has in common, however one came by it.

:mod:`~harness.clusters.kube.cluster` is the protocol on a cluster that a subclass reaches;
:mod:`~harness.clusters.kube.kubectl` is the way in, with a user's own tool and rights. A privileged
agent on each node (:mod:`~harness.clusters.kube.agents`) runs a prober there, which enters pods by
their sandboxes' network namespaces (:mod:`~harness.clusters.kube.sandboxes`), and a runner of
commands (:mod:`~harness.clusters.kube.runner`); :mod:`~harness.clusters.kube.probing` hands each
probe to the prober that can ask it. :mod:`~harness.clusters.kube.workloads` turns scenarios' pods
into such as nodes can run, :mod:`~harness.clusters.kube.readiness` waits for them and their
Services. Nothing here makes clusters, and nothing knows of enforcers.
"""
