"""What a person sees: figures, report.html and report.md, drawn from stored results only.

Read :mod:`.analysis` (stored rows to estimates), :mod:`.findings` (estimates to sentences),
:mod:`.figures` (estimates to pictures, in the one style of :mod:`.style`), :mod:`.perf` (all of
it put into a run's folder).

Never in here: a cluster, an enforcer, or a measurement. What a report says can be said again
from the run's folder alone.
"""
