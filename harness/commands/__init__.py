"""The sub-commands of ``harness``, one module each: options in, one call, a result printed.

Each module exports ``command`` (a click command or group) and is listed in
:data:`harness.cli.COMMANDS`. Commands join the parts of the harness together: a cluster, an
enforcer, a scenario. What they join never imports them, and nothing that measures or judges is
written here.
"""
