"""The builtin control plane: a small Kubernetes API server, all in memory.

It serves what the harness, an enforcer, client-go programs and a person with kubectl need, over
JSON; whatever else it refuses by name (501 and a sentence), never by a wrong answer. The way of a
request, module by module: ``routes`` (which object is meant) -> ``reading`` (bodies and options,
with ``patch``, ``selectors`` and ``protobuf``) -> ``server`` (which verb) -> ``registry``
(``defaults``, ``validation`` on typed ``shapes``, ``allocate``) -> ``store`` (versions and
history) -> ``answers`` (lists in ``paging``, tables by ``printers``) or ``watching`` (everybody who
follows). ``resources`` is the table of kinds: to serve another kind is a line there. ``discovery``
tells clients of it. ``scheduler`` is the one controller inside; ``endpoints`` works Endpoints and
EndpointSlices out for those who read them.

Never in here: pods' life (the kubelet is a client of this API), files, authentication, and any
import of the cluster around it.
"""
