"""How fast? ab and locust, run as programs; their outputs parsed and kept.

In here: command lines, parsers of what the programs print, and the limits of the client that
would otherwise be measured in the server's place. Never in here: what a number means; that is
:mod:`harness.measure` and :mod:`harness.stats`.
"""
