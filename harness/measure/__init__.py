"""What does it cost? The plan of blocks, the switch of arms, and the run that writes them down.

Read :mod:`.plan` first (what is measured, in which order, how long it takes), then
:mod:`.switch` (off and on, proved by a probe), :mod:`.voiding` (which blocks do not count),
:mod:`.blocks` (what is stored), and :mod:`.study` (the run, on one screen).

Never in here: what the figures mean (:mod:`harness.stats`) and how they look
(:mod:`harness.report`).
"""
