"""Windows of change: how long an enforcer is still wrong after something has changed.

Probes go on without a pause while something changes. The window of an event is the time from the
API server's acknowledgement to the last probe that still got the answer of before; it counts only
where the opposite state was seen just before. New and established connections are told apart, and
beside them stands the instrument's floor: the same figure for a change that alters nothing.

:mod:`~harness.measure.windows.arithmetic` has the definitions, :mod:`~.changes` what is changed,
:mod:`~.instrument` makes events of changes and :mod:`~.starting` of pods that start, :mod:`~.run`
is the run at a small size, :mod:`~.record` what is stored.
"""
