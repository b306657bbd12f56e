"""A harness that says with evidence whether a NetworkPolicy enforcer is correct and what it costs.

It spins up clusters (:mod:`harness.clusters`), installs an enforcer (:mod:`harness.enforcers`),
asks *is it correct?* (:mod:`harness.matrix`) and *what does it cost?* (:mod:`harness.load`,
:mod:`harness.stats`), and writes what it saw (:mod:`harness.results`, :mod:`harness.report`).

It never imports the bundled enforcer: it runs it as a program, like any other.
"""

__version__ = "0.1.0"
