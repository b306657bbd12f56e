"""``python -m enforcer``: the same as the ``enforcer`` command."""

from enforcer.cli import main

main()
