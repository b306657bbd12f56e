"""Changes wait in the inbox and leave it as one batch."""

from __future__ import annotations

from enforcer.inbox import Inbox
from enforcer.model.changes import Change, Kind, Removed
from enforcer.model.objects import Key


def removed(name: str) -> Change:
    """Return some change."""
    return Removed(Kind.PODS, Key("ns", name))


async def test_changes_that_arrive_together_are_one_batch_in_order() -> None:
    """A burst costs one sync."""
    inbox = Inbox()
    inbox.put(removed("a"))
    inbox.put(removed("b"))

    batch = await inbox.take(patience=60)

    assert batch.changes == (removed("a"), removed("b"))


async def test_nothing_is_delivered_twice() -> None:
    """A batch that was taken is gone; without a change the wait ends empty."""
    inbox = Inbox()
    inbox.put(removed("a"))
    await inbox.take(patience=60)

    assert (await inbox.take(patience=0)).changes == ()
