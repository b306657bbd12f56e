"""Clusters that somebody else made, reached by a kubeconfig; we are guests there.

Before anything is created, :mod:`~harness.clusters.existing.survey` looks: which rights are missing
(:mod:`~harness.clusters.existing.rights`), which nodes can be used
(:mod:`~harness.clusters.existing.machines`), who may enforce there already and whose policies there
are (:mod:`~harness.clusters.existing.others`). What we then create is in namespaces of our own
(:mod:`~harness.clusters.existing.border`), labelled (:mod:`harness.clusters.kube.owned`), and can
be found and removed by that (:mod:`~harness.clusters.existing.cleanup`).
"""
