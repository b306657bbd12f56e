"""How good is the judge? Enforcers that are broken on purpose, and whether the suite catches them.

A *mutant* is the bundled enforcer with one thing broken by a seam of its own, or with a flag that
breaks it, or a rule layout of our own making that follows policies like any enforcer. Each is
installed on every node like the sound one, and judged by the functional suite until a case catches
it: a wrong verdict, where the sound enforcer passes the same case on the same cluster. The share
that is caught is the mutation score.

:mod:`~tests.mutation.catalogue` says what a mutant is; ``meaning``, ``partial``, ``following``,
``packets`` and ``layouts`` hold them. :mod:`~tests.mutation.enforcer` runs one on a node,
:mod:`~tests.mutation.judging` asks the suite, :mod:`~tests.mutation.report` writes down what it
said, and ``__main__`` is the command, ``nox -s mutation``.
"""
