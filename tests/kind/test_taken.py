"""A cluster that is there already is taken only where a run with the same settings made it."""

from __future__ import annotations

import pytest

from harness.clusters.kind.config import KindConfig
from harness.clusters.kind.provider import KindNodes
from harness.clusters.kind.tools import Tools
from harness.errors import UsageError
from tests.kind.deployed import House

pytestmark = pytest.mark.kind


def test_one_of_other_settings_is_refused(house: House, tools: Tools) -> None:
    """Nothing is laid on its nodes, and it is not deleted."""
    other = KindNodes(house.cluster.name, tools, KindConfig(workers=2))

    with pytest.raises(UsageError, match="take another name, or remove it"):
        other.__enter__()

    assert len(house.kubectl.get("nodes")["items"]) == 2


def test_its_own_kind_is_taken_and_stays(house: House, tools: Tools) -> None:
    """Who did not make it does not delete it."""
    with KindNodes(house.cluster.name, tools, KindConfig()) as taken:
        assert taken.stays
        assert taken.nodes() == house.cluster.nodes()

    assert len(house.kubectl.get("nodes")["items"]) == 2
