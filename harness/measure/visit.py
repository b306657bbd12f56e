"""The locust part of a run: arrivals over many services, at rising rates, in each arm once.

One visit an arm is no comparison: no verdict is drawn from it.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from harness.clusters.kube.cluster import KubeCluster
from harness.load import locust, pods
from harness.load.locust import Crowd, Report, Steps
from harness.load.pods import Squad
from harness.measure import clients
from harness.measure.plan import NOBODY, Arm
from harness.measure.site import Site, services_of
from harness.results import RunFolder, file_name
from harness.workload import study as workload

FILE = "locust.json"
FOLDER = "locust"
FORMAT = 2
"""Of the file; ``results/README.md`` says what changed."""

Arms = tuple[tuple[Arm, str], ...]
"""Which arms are visited, and whose they are."""

STEPS = Steps(rates=(100, 200, 400, 800), each=4.0)
"""What a process of locust does with ease, over a thousand kept connections."""


def visit(asked: Steps, site: Site, folder: RunFolder, arms: Arms) -> None:
    """Run locust in each arm and store what it counted; without steps nobody comes."""
    if not asked.rates:
        return
    addresses = services_of(site).values()
    crowd = locust.Crowd(
        targets=[f"http://{address}:{workload.PORT}/" for address in addresses],
        source=site.target.source,
        steps=asked,
    )
    facts = {"format": FORMAT, "services": len(addresses), **asdict(asked)}
    found = []
    with site.narrator.stage(f"locust over {len(addresses)} services", len(arms)) as stage:
        for arm, name in arms:
            site.switch.to(arm, name)
            prefix = folder.folder(FOLDER) / file_name(f"{arm.value}-{name}")
            report = _run(site, crowd, prefix, arm)
            found.append({"arm": _words(arm, name), **asdict(report)})
            folder.write_json(FILE, {**facts, "rules": list(locust.RULES), "visits": found})
            void = sum(bool(step.void) for step in report.steps)
            said = f"{report.rps:,.0f} requests/s, {report.failures} failures, {void} steps void"
            stage.advance(detail=said)


def _words(arm: Arm, name: str) -> str:
    return arm.value if name == NOBODY else f"{name} {arm.value}"


def _run(site: Site, crowd: Crowd, prefix: Path, arm: Arm) -> Report:
    """Run locust beside the client, or as pods: there it is admitted by a policy of its own."""
    if not isinstance(site.cluster, KubeCluster):
        return locust.run(site.cluster, site.target.client, crowd, prefix)
    space = site.cluster.space(clients.NAMESPACE)
    squad = Squad(site.cluster.kubectl, space, crowd.steps.image, crowd.steps.processes)
    admitted = [workload.admission(clients.NAMESPACE, pods.LABELS)]
    if arm is not Arm.ON:
        return pods.run(squad, crowd, prefix)
    site.cluster.apply(admitted)
    try:
        return pods.run(squad, crowd, prefix)
    finally:
        site.cluster.delete(admitted)
