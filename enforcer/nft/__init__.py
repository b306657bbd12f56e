"""A small nftables library: objects, transaction, diff, kernel, fake. Nothing of Kubernetes.

A change to the kernel is one value that can be printed, checked, compared and run. Equal inputs
give equal rulesets; an empty difference sends nothing.
"""
