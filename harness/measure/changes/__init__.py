"""Changes at size: how soon they act among thousands of pods, and what the daemons take meanwhile.

The events are those of :mod:`harness.measure.windows`, by the same instrument, on a cluster with
the study's workload. :mod:`~.churn` replaces pods all the while, :mod:`~.kernel` counts what an
enforcer keeps in the kernel, :mod:`~.resources` what its daemons take, :mod:`~.record` has the
stored form of both, and :mod:`~.run` is the recipe.
"""
