"""The kustomize base, from the first apply to the last trace of it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import subprocess
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.clusters.base import Verdict
from harness.prober.protocol import Attempt
from tests.kind.deployed import (
    ENFORCER_IMAGE,
    NAMESPACE,
    SECRET,
    SYSTEM,
    Place,
    Pod,
    all_traces,
    applied,
    expect,
    install,
    pod_manifest,
    policy,
    running_pods,
    settle,
    uninstall,
    verdict,
)

logger = logging.getLogger(__name__)
pytestmark = pytest.mark.kind

SERVER, SAME, OTHER, STRANGER = "server", "same-node", "other-node", "stranger"
DENY_ALL = policy("deny-all", {"podSelector": {}, "policyTypes": ["Ingress"]})
ALLOW_FRIENDS = policy(
    "friends",
    {
        "podSelector": {"matchLabels": {"role": "server"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "friend"}}}]}],
    },
)
DAEMONS = "daemonset/npd-enforcer"
UNDO = ("rollout", "undo", DAEMONS)
NO_FAILURE = "Failed requests:        0"


@pytest.fixture(scope="module")
def pods(lab: Place) -> Iterator[dict[str, Pod]]:
    """Give a server, a friend of it on each node, and a stranger on the server's node."""
    control_plane, worker = lab.node_names()
    with applied(
        lab,
        pod_manifest(SERVER, worker, "server"),
        pod_manifest(SAME, worker, "friend"),
        pod_manifest(OTHER, control_plane, "friend"),
        pod_manifest(STRANGER, worker, "stranger"),
    ):
        found = running_pods(lab.kubectl)
        lab.agents.refresh()
        yield found


@pytest.fixture(scope="module")
def before(lab: Place, pods: dict[str, Pod]) -> dict[str, str]:
    """Give what each node was before anything of ours was installed; nothing enforces there."""
    with applied(lab, DENY_ALL):
        found = {name: verdict(lab, pods[name], pods[SERVER]) for name in (SAME, OTHER, STRANGER)}
    assert found == dict.fromkeys((SAME, OTHER, STRANGER), Verdict.OPEN)
    settle(lab)
    return all_traces(lab)


@pytest.fixture(scope="module")
def installed(lab: Place, before: dict[str, str]) -> Iterator[Place]:
    """Give the cluster with the base installed."""
    assert before
    install(lab.kubectl)
    yield lab
    if lab.kubectl.attempt("-n", SYSTEM, "get", DAEMONS).returncode == 0:
        uninstall(lab.kubectl)


def test_ready_on_every_node(installed: Place) -> None:
    """The base becomes ready on every node, the control plane's too, and never restarted."""
    label = "app.kubernetes.io/name=npd-enforcer"
    found = installed.kubectl.get("pods", "-n", SYSTEM, "-l", label)["items"]
    assert {pod["spec"]["nodeName"] for pod in found} == set(installed.node_names())
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in found] == [0, 0]


def test_policies_hold_on_both_nodes(installed: Place, pods: dict[str, Pod]) -> None:
    """What a policy denies is dropped and what it allows passes, from the same and another node."""
    friends, server = (pods[SAME], pods[OTHER]), pods[SERVER]
    with applied(installed, DENY_ALL):
        expect(installed, server, dict.fromkeys(friends, Verdict.DROPPED))
        with applied(installed, ALLOW_FRIENDS):
            expect(installed, server, dict.fromkeys(friends, Verdict.OPEN))
            assert verdict(installed, pods[STRANGER], server) is Verdict.DROPPED
        expect(installed, server, dict.fromkeys(friends, Verdict.DROPPED))
    expect(installed, server, dict.fromkeys(friends, Verdict.OPEN))


def test_an_older_nft_on_the_node_reads_what_was_made(installed: Place) -> None:
    """Kube-proxy lists the sets of every table with one in nftables mode, or follows nothing."""
    for node in installed.node_names():
        for family in ("ip", "ip6"):
            assert installed.cluster.on_node(node, ["nft", "-j", "list", "sets", family])


def test_a_sysdump_explains_and_has_no_secrets(installed: Place, pods: dict[str, Pod]) -> None:
    """Its cluster is what ``explain -f`` reads; what containers are told is not in it."""
    argv = ("-n", SYSTEM, "exec", _daemon_on(installed, pods[SERVER].node), "--", "enforcer")
    with applied(installed, DENY_ALL):
        made = subprocess.run(
            installed.kubectl.argv(*argv, "sysdump"), capture_output=True, check=True
        )
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        found = {Path(it.name).name: archive.extractfile(it) for it in archive}
        texts = {name: file.read().decode() for name, file in found.items() if file}

    assert texts["problems.txt"] == ""
    assert pods[SERVER].address in texts["nft-ip.txt"]
    assert json.loads(texts["status.json"])["ready"]
    assert not [name for name, text in texts.items() if SECRET in text]
    question = (f"{NAMESPACE}/{SAME}", f"{NAMESPACE}/{SERVER}:80", "-f", "/dev/stdin")
    answer = installed.kubectl.run(
        *(*argv[:3], "-i", *argv[3:], "explain", *question), text=texts["cluster.json"]
    )
    assert "deny-all" in answer


@pytest.fixture
def next_tag(lab: Place) -> Iterator[str]:
    """Give the image by another tag, on every node; the base's own comes back at the end."""
    tag = f"{ENFORCER_IMAGE.partition(':')[0]}:next"
    subprocess.run(["docker", "tag", ENFORCER_IMAGE, tag], check=True)
    lab.cluster.load(tag)
    yield tag
    subprocess.run(["docker", "rmi", tag], check=True, stdout=subprocess.DEVNULL)


def test_an_upgrade_and_its_way_back_let_nothing_slip(
    installed: Place, pods: dict[str, Pod], next_tag: str
) -> None:
    """While every daemon is replaced, not one denied connection passes, and no allowed one fails.

    First by an image of another tag, then back. ab loads the server all the while from an allowed
    pod on the other node.
    """
    kubectl, ran = installed.kubectl, []
    with applied(installed, DENY_ALL, ALLOW_FRIENDS):
        wanted = {pods[STRANGER]: Verdict.DROPPED, pods[OTHER]: Verdict.OPEN}
        expect(installed, pods[SERVER], wanted)
        with flood(installed, pods) as (seen, loads):
            for step in (("set", "image", DAEMONS, f"enforcer={next_tag}"), UNDO):
                kubectl.run("-n", SYSTEM, *step)
                kubectl.rollout(SYSTEM, DAEMONS)
                ran.append(_images(installed))
    logger.info("during the upgrade: %s, %d times 1,000 requests", dict(seen), len(loads))

    assert ran == [{next_tag}, {ENFORCER_IMAGE}]
    assert set(seen) == {(STRANGER, Verdict.DROPPED), (SAME, Verdict.OPEN)}
    assert min(seen.values()) > 100
    assert loads
    assert all(NO_FAILURE in load for load in loads)


def _images(lab: Place) -> set[str]:
    """Return what the enforcer's pods run."""
    label = "app.kubernetes.io/name=npd-enforcer"
    found = lab.kubectl.get("pods", "-n", SYSTEM, "-l", label)["items"]
    live = (pod for pod in found if "deletionTimestamp" not in pod["metadata"])
    return {pod["spec"]["containers"][0]["image"] for pod in live}


def test_nothing_is_left_on_the_nodes(
    installed: Place, before: dict[str, str], pods: dict[str, Pod]
) -> None:
    """After the uninstall a node is what it was: tables, links, flags, sysctls, sockets."""
    with applied(installed, DENY_ALL):
        expect(installed, pods[SERVER], {pods[SAME]: Verdict.DROPPED})
    uninstall(installed.kubectl)

    assert all_traces(installed) == before


def _daemon_on(lab: Place, node: str) -> str:
    """Return the name of the enforcer's pod on a node."""
    label = "app.kubernetes.io/name=npd-enforcer"
    where = f"--field-selector=spec.nodeName={node},status.phase=Running"
    (pod,) = lab.kubectl.get("pods", "-n", SYSTEM, "-l", label, where)["items"]
    return str(pod["metadata"]["name"])


@contextlib.contextmanager
def flood(
    lab: Place, pods: dict[str, Pod]
) -> Iterator[tuple[Counter[tuple[str, Verdict]], list[str]]]:
    """Probe without a pause, and load with ab, while the context lasts; give what was seen."""
    seen: Counter[tuple[str, Verdict]] = Counter()
    loads: list[str] = []
    stop = threading.Event()
    server, names = pods[SERVER], (STRANGER, SAME) * 20
    attempts = [Attempt(pods[name].uid, None, server.address, 80) for name in names]
    ab = ("ab", "-q", "-c", "8", "-n", "1000", f"http://{server.address}/")

    def probe() -> None:
        while not stop.is_set():
            found = (
                outcome.verdict for outcome in lab.agents.prober(server.node).probe(attempts, 0.5)
            )
            seen.update(zip(names, found, strict=True))

    def load() -> None:
        while not stop.is_set():
            loads.append(lab.kubectl.exec(NAMESPACE, OTHER, ab))

    threads = [threading.Thread(target=work) for work in (probe, load)]
    for thread in threads:
        thread.start()
    try:
        yield seen, loads
    finally:
        stop.set()
        for thread in threads:
            thread.join()
