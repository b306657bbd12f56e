"""The cluster as it is at this moment: every kind listed once, for commands that do not watch."""

from __future__ import annotations

from pathlib import Path

from enforcer.kube.client import Api, connect
from enforcer.kube.decode import decode_page
from enforcer.model.changes import Kind, Object, Replaced, Unreadable
from enforcer.policy.cluster import Cluster

_PAGE_SIZE = 500


async def load_cluster(kubeconfig: Path | None, master: str | None = None) -> Cluster:
    """List every kind; SettingsError or ApiError where that cannot be done."""
    cluster = Cluster()
    async with connect(kubeconfig, master) as api:
        for kind in Kind:
            cluster.apply(Replaced(kind, tuple(await _list(api, kind))))
    return cluster


async def _list(api: Api, kind: Kind) -> list[Object | Unreadable]:
    objects: list[Object | Unreadable] = []
    query = {"limit": str(_PAGE_SIZE)}
    while True:
        page = decode_page(kind, await api.list_page(kind, query))
        objects.extend(page.objects)
        if not page.next_page:
            return objects
        query["continue"] = page.next_page
