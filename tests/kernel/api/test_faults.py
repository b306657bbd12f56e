"""The daemon behind an API server that drops, stalls, refuses and lies: it follows again each time.

One node, one daemon, one fault after the other. Enforcement is watched in the kernel: what was
isolated stays so, nothing half-seen is applied, and afterwards changes act again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernel.api.lying_proxy import Json
from tests.kernel.api.node import Node
from tests.kernel.netlab import wait_until

pytestmark = pytest.mark.kernel

GUARDED = "10.1.0.5"
"""A pod that a policy isolates all the time."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Return a node whose daemon isolates one pod and follows changes."""
    with Node(tmp_path_factory.mktemp("node")) as node:
        node.pod("guarded", GUARDED, {"app": "guarded"})
        node.pod("probe", "10.1.0.9", {"app": "probe"})
        node.policy("always", {"app": "guarded"})
        node.start_daemon()
        wait_until(lambda: node.status("/readyz") == "200", 60)
        yield node


@pytest.fixture
def node(shared: Node) -> Iterator[Node]:
    """Check before and after each fault that the guarded pod is isolated and changes act."""
    shared.follows()
    assert shared.is_isolated(GUARDED)
    yield shared
    assert shared.is_isolated(GUARDED)
    assert shared.daemon is not None
    assert shared.daemon.poll() is None
    assert shared.status("/livez") == "200"
    wait_until(lambda: shared.status("/readyz") == "200", 60)


def test_connections_that_break_off_in_mid_stream(node: Node) -> None:
    """Watches are taken up again, and no change in between is missed."""
    for number in range(5):
        node.cut()
        node.pod(f"new{number}", f"10.1.0.{20 + number}", {})
    wait_until(lambda: all(node.knows(f"10.1.0.{20 + number}") for number in range(5)), 60)

    node.follows()


def test_a_server_that_falls_silent(node: Node) -> None:
    """Silence is no end of a connection: after its patience the daemon asks again."""
    node.stall()
    node.policy("late", {"app": "probe"})
    wait_until(lambda: node.metric('enforcer_watch_silence_seconds{kind="pods"}') > 3.5, 60)
    assert not node.is_isolated("10.1.0.9")
    wait_until(lambda: "a watch of pods" in node.reasons(), 60)
    assert node.status("/livez") == "200"
    node.flow()
    wait_until(lambda: node.is_isolated("10.1.0.9"), 60)

    node.drop_policy("late")
    node.follows()


def test_slow_answers(node: Node) -> None:
    """A server that dribbles is followed, late."""
    node.proxy.slow = 0.3
    node.cut()
    node.follows()

    node.proxy.slow = 0.0


@pytest.mark.parametrize("status", [401, 403, 410, 429, 500, 503])
def test_every_request_is_refused(node: Node, status: int) -> None:
    """Whatever the status is, the rules stay; afterwards changes act again."""
    headers = {"Retry-After": "1"} if status == 429 else {}
    kinds = ("pods", "namespaces", "nodes", "networkpolicies")
    node.proxy.refusals = dict.fromkeys(kinds, (status, headers))
    node.cut()
    before = len(node.proxy.asked)
    node.policy("meanwhile", {"app": "probe"})
    wait_until(lambda: len(node.proxy.asked) >= before + 8, 60)
    assert node.is_isolated(GUARDED)
    assert not node.is_isolated("10.1.0.9")
    node.proxy.refusals = {}
    wait_until(lambda: node.is_isolated("10.1.0.9"), 60)

    node.drop_policy("meanwhile")
    node.follows()


def test_one_kind_is_forbidden(node: Node) -> None:
    """The other kinds are followed, and what was known of the forbidden one stays in force."""
    node.proxy.refusals = {"networkpolicies": (403, {})}
    node.cut()
    node.pod("other", "10.1.0.40", {"app": "guarded"})
    wait_until(lambda: node.is_isolated("10.1.0.40"), 60)
    node.proxy.refusals = {}

    node.follows()


def test_a_daemon_that_may_not_watch_is_not_ready_for_long(node: Node) -> None:
    """It knows the cluster as it was listed and hears of no change: soon it says so itself."""
    node.proxy.unwatched = {"pods": (403, {})}
    node.cut()
    wait_until(lambda: node.status("/readyz") == "503", 60)

    assert "a watch of pods" in node.reasons()
    assert "403: the proxy says 403" in node.reasons()
    assert node.metric("enforcer_ready") == 0
    assert node.status("/livez") == "200"
    node.proxy.unwatched = {}
    node.follows()


def test_a_token_that_is_replaced(node: Node) -> None:
    """The old token is refused from now on; the file with the new one is read without a restart."""
    node.proxy.token = "second"
    node.cut()
    asked = len(node.proxy.asked)
    wait_until(lambda: len(node.proxy.asked) > asked, 60)
    node.token_file.write_text("second\n")
    node.follows()

    node.proxy.token = ""


def test_an_event_that_cannot_be_read(node: Node) -> None:
    """Nobody knows what it was about: the kind is listed again, and nothing of it is missed."""

    def broken(kind: str, data: bytes) -> bytes:
        is_event = kind == "networkpolicies" and b'"items"' not in data
        return b'{"type": "ADDED", "obj\n' if is_event else data

    node.proxy.garble = broken
    node.policy("unseen", {"app": "probe"})
    wait_until(lambda: node.is_isolated("10.1.0.9"), 60)
    node.proxy.garble = lambda _kind, data: data

    node.drop_policy("unseen")
    node.follows()


def truncated(kind: str, data: bytes) -> bytes:
    """End the list of policies in the middle, and its connection in order."""
    return data[: len(data) // 2] if kind == "networkpolicies" and b'"items"' in data else data


def no_json(kind: str, data: bytes) -> bytes:
    """Answer as a proxy's login page does."""
    return b"<html>sign in</html>" if kind == "networkpolicies" else data


@pytest.mark.parametrize("garble", [truncated, no_json])
def test_a_list_that_cannot_be_read(node: Node, garble: Callable[[str, bytes], bytes]) -> None:
    """Nothing of it is applied; what was known stays in force."""
    node.proxy.garble = garble
    node.proxy.refusals = {"networkpolicies": (410, {})}  # so that it lists again
    before = len(node.proxy.asked)
    node.cut()
    wait_until(lambda: ("networkpolicies", False) in _asked(node)[before:], 60)
    node.proxy.refusals = {}
    node.policy("unseen", {"app": "probe"})
    before = len(node.proxy.asked)
    wait_until(lambda: _asked(node)[before:].count(("networkpolicies", False)) > 1, 60)
    assert node.is_isolated(GUARDED)
    node.proxy.garble = lambda _kind, data: data
    wait_until(lambda: node.is_isolated("10.1.0.9"), 60)

    node.drop_policy("unseen")
    node.follows()


def _asked(node: Node) -> list[tuple[str, bool]]:
    return [(kind, watch) for kind, watch, _ in node.proxy.asked]


def test_a_policy_that_cannot_even_be_identified(node: Node) -> None:
    """It may be anybody's: every pod is closed, and a metric says so, until a list is in order."""
    node.proxy.alter = nameless
    node.proxy.unwatched = {"networkpolicies": (410, {})}  # so that it lists again
    node.cut()
    wait_until(lambda: node.metric("enforcer_policy_problems") == 1, 60)
    assert node.is_isolated(GUARDED)
    wait_until(lambda: node.is_isolated("10.1.0.9") and node.is_isolated("10.1.0.9", "eg"), 60)
    node.proxy.unwatched = {}
    asked = len(node.proxy.asked)
    wait_until(lambda: _asked(node)[asked:].count(("networkpolicies", False)) > 1, 60)
    node.proxy.alter = lambda _kind, item: item
    wait_until(lambda: node.metric("enforcer_policy_problems") == 0, 60)
    wait_until(lambda: not node.is_isolated("10.1.0.9"), 60)

    node.follows()


def nameless(kind: str, item: Json) -> Json:
    """Return a policy without anything by which it could be known."""
    return {**item, "metadata": "strange"} if kind == "networkpolicies" else item


def test_a_first_list_with_a_policy_that_cannot_be_identified(tmp_path: Path) -> None:
    """A daemon that knows no other closes every pod, says so, and goes on as soon as it can."""
    with Node(tmp_path) as node:
        node.pod("guarded", GUARDED, {"app": "guarded"})
        node.pod("probe", "10.1.0.9", {"app": "probe"})
        node.policy("always", {"app": "guarded"})
        node.proxy.alter = nameless
        node.start_daemon()
        wait_until(lambda: node.is_isolated(GUARDED) and node.is_isolated("10.1.0.9"), 60)
        wait_until(lambda: node.metric("enforcer_policy_problems") == 1, 60)
        node.pod("late", "10.1.0.50", {})
        wait_until(lambda: node.is_isolated("10.1.0.50"), 60)
        wait_until(lambda: "NetworkPolicyNotUnderstood" in node.events(), 60)
        node.proxy.alter = lambda _kind, item: item
        wait_until(lambda: not node.is_isolated("10.1.0.9"), 60)

        assert node.is_isolated(GUARDED)
        wait_until(lambda: node.status("/readyz") == "200", 60)


def test_pages_that_expire(node: Node) -> None:
    """A continue token that is not taken any more: the list is asked for as a whole."""
    node.pod("third", "10.1.0.80", {})  # a page holds two
    expired = node.proxy.refusals

    class OnContinue(dict[str, tuple[int, dict[str, str]]]):
        """Refuse pages after the first, and one watch, so that there is a list."""

        def get(self, kind: str, default: object = None) -> object:  # type: ignore[override]
            _, watch, query = node.proxy.asked[-1]
            return (410, {}) if kind == "pods" and ("continue" in query or watch) else None

    node.proxy.refusals = OnContinue()
    before = len(node.proxy.asked)
    node.cut()
    wait_until(
        lambda: any(
            kind == "pods" and not watch and "limit" not in query
            for kind, watch, query in node.proxy.asked[before:]
        ),
        60,
    )
    node.proxy.refusals = expired

    node.follows()


def test_a_server_that_is_not_there(node: Node) -> None:
    """Refused for minutes (of this hurried daemon): alive, not ready, the rules stay; then on.

    Whether the server remembers what was before makes no difference.
    """
    node.close_proxy()
    node.policy("away", {"app": "probe"})
    before = node.log.read_bytes().count(b"Connection refused")
    wait_until(lambda: node.log.read_bytes().count(b"Connection refused") > before + 3, 60)
    wait_until(lambda: node.reasons().count("Connection refused") == 4, 60)
    assert node.status("/livez") == "200"
    assert not node.is_isolated("10.1.0.9")
    node.open_proxy()
    wait_until(lambda: node.is_isolated("10.1.0.9"), 60)

    node.drop_policy("away")
    node.follows()


def test_fields_that_nobody_knows(node: Node) -> None:
    """Objects of a newer API, with fields, types and enumerations to come, mean what they did."""

    def newer(kind: str, item: Json) -> Json:
        spec = {**item.get("spec", {}), "toCome": {"deep": [1, {"x": None}]}}
        return {**item, "spec": spec, "toCome": [kind]}

    node.proxy.alter = newer
    node.cut()
    node.follows()

    node.proxy.alter = lambda _kind, item: item


def test_a_pod_that_cannot_be_understood_is_closed(node: Node) -> None:
    """Labels of a wrong type: the pod is denied both ways, all else goes on, a metric says so."""

    def broken(kind: str, item: Json) -> Json:
        if kind == "pods" and item["metadata"]["name"] == "strange":
            return {**item, "metadata": {**item["metadata"], "labels": 5}}
        return item

    node.proxy.alter = broken
    node.pod("strange", "10.1.0.60", {})
    wait_until(lambda: node.is_isolated("10.1.0.60") and node.is_isolated("10.1.0.60", "eg"), 60)
    wait_until(lambda: node.metric("enforcer_policy_problems") == 1, 60)
    node.follows()
    node.proxy.alter = lambda _kind, item: item
    node.patch("/api/v1/namespaces/default/pods/strange", {"metadata": {"labels": {"well": "x"}}})
    wait_until(lambda: not node.is_isolated("10.1.0.60"), 60)

    wait_until(lambda: node.metric("enforcer_policy_problems") == 0, 60)


def test_a_policy_that_cannot_be_understood_denies(node: Node) -> None:
    """The pods that it selects are closed; those that it does not select are left alone."""

    def broken(kind: str, item: Json) -> Json:
        if kind == "networkpolicies" and item["metadata"]["name"] == "odd":
            return {**item, "spec": {**item["spec"], "ingress": "everybody"}}
        return item

    node.proxy.alter = broken
    node.pod("chosen", "10.1.0.70", {"app": "chosen"})
    node.policy("odd", {"app": "chosen"})
    wait_until(lambda: node.is_isolated("10.1.0.70"), 60)
    assert not node.is_isolated("10.1.0.9")
    wait_until(lambda: node.metric("enforcer_policy_problems") == 1, 60)
    node.proxy.alter = lambda _kind, item: item
    node.drop_policy("odd")

    wait_until(lambda: not node.is_isolated("10.1.0.70"), 60)


def test_nothing_is_applied_before_every_kind_has_listed(tmp_path: Path) -> None:
    """While one kind is missing, the rules of the run before stay and the daemon is not ready."""
    with Node(tmp_path) as node:
        node.pod("guarded", GUARDED, {"app": "guarded"})
        node.run("nft", "add table ip npd; add set ip npd before { type ipv4_addr; }")
        node.proxy.refusals = {"networkpolicies": (403, {})}
        node.start_daemon()
        wait_until(lambda: _asked(node).count(("networkpolicies", False)) > 3, 60)
        wait_until(lambda: ("pods", True) in _asked(node), 60)

        assert node.status("/readyz") == "503"
        assert "set before" in node.ruleset()
        assert not node.knows(GUARDED)
        node.proxy.refusals = {}
        wait_until(lambda: node.status("/readyz") == "200", 60)
        assert node.knows(GUARDED)
        assert "set before" not in node.ruleset()
