"""The embedded cluster: nodes, pods and the outside world as network namespaces of one process.

One *supervisor* is PID 1 of a PID namespace of its own, with mount and network namespaces of its
own; everything else is a child of it: the API server, the node agent (every kubelet and every
service proxy), the prober, pods' programs, enforcers. When it ends, however it ends, the kernel
removes all of that. The host's own network namespace gets nothing from here.

Reading order: :mod:`addresses` (who gets which address), :mod:`namespaces` and :mod:`rtnetlink`
(the two kernel interfaces), :mod:`fabric` and :mod:`podnet` (links and routes), :mod:`pods`,
:mod:`kubelet` and :mod:`proxy` (pods and Services come to life), :mod:`supervisor` (PID 1),
:mod:`cluster` (the client's side). Nothing here knows what a NetworkPolicy is.
"""
