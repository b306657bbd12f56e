"""A lab for each way of connecting pods."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernel.netlab import Lab, Wire


@pytest.fixture(params=list(Wire), ids=lambda wire: wire.value)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Return a node with three pods that serve TCP and UDP on ports 80 and 81."""
    with Lab(request.param) as built:
        for pod in built.pods:
            built.serve(pod.name, 80)
            built.serve(pod.name, 81)
        yield built
