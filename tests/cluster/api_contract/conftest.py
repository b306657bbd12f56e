"""One suite for every control plane: what a cluster's API must do, whoever serves it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.cluster.api_contract.servers import Api, ControlPlane, builtin, connect, real

REAL = pytest.param("real", marks=[pytest.mark.cluster, pytest.mark.optional("@control-plane")])


@pytest.fixture(scope="session", params=["builtin", REAL])
def control_plane(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """Return each control plane that the suite judges."""
    folder = tmp_path_factory.mktemp(request.param)
    with builtin(folder) if request.param == "builtin" else real() as running:
        yield running


@pytest.fixture
async def api(control_plane: ControlPlane) -> AsyncIterator[Api]:
    """Return raw HTTP to the control plane."""
    async with connect(control_plane.url, control_plane.tls) as connected:
        yield connected


@pytest.fixture
async def namespace(api: Api) -> str:
    """Return a namespace that no other test uses."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    answer = await api("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    assert answer.code == 201, answer
    return name


@pytest.fixture
def small_history(tmp_path: Path) -> Iterator[ControlPlane]:
    """Return a builtin control plane that remembers 20 changes of each kind."""
    with builtin(tmp_path, "--history", "20") as running:
        yield running
