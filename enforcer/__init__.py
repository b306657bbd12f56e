"""A node daemon that enforces Kubernetes NetworkPolicy in the kernel through nftables.

The way of the data, each step a package and each arrow a function::

    API server --kube--> model --policy.compile--> CompiledPolicy --ruleset.lower--> Ruleset
        --nft.diff(have, want)--> Transactions --nft.kernel--> the kernel

Nothing in here knows the harness, and the harness knows nothing of this package:
the judge must not share the mistakes of the judged.
"""

__version__ = "0.1.0"
