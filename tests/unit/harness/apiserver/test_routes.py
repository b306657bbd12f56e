"""Paths of the builtin API server: what is not served is refused by name."""

from __future__ import annotations

import pytest

from harness.clusters.embedded.apiserver.errors import ApiError
from harness.clusters.embedded.apiserver.routes import parse


@pytest.mark.parametrize("stream", ["exec", "attach", "portforward"])
def test_a_stream_into_a_pod_is_refused_with_what_does_the_same(stream: str) -> None:
    """``kubectl exec`` is answered by the command that does it here."""
    with pytest.raises(ApiError, match=rf"pods/{stream}; use: harness cluster exec shop/web -- "):
        parse(f"/api/v1/namespaces/shop/pods/web/{stream}")


def test_other_parts_are_refused_by_name_alone() -> None:
    """No way around is named where there is none."""
    with pytest.raises(ApiError, match=r"pods/eviction$"):
        parse("/api/v1/namespaces/shop/pods/web/eviction")
