"""What NetworkPolicy means: who may reach whom, on which ports. Nothing of nftables, no I/O.

:func:`enforcer.policy.compile.compile_node` turns a cluster into a
:class:`~enforcer.policy.compiled.CompiledPolicy` for one node.
"""
