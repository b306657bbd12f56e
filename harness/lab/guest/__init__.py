"""What runs inside the guest: small networks, rules in them, load through them.

Only the standard library, and what enters namespaces: the guest executes some tens of millions of
instructions a second, and every import counts.
"""
