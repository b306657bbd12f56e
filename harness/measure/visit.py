"""The locust part of a run: many users over many services, once off and once on.

One visit an arm is no comparison: no verdict is drawn from it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from harness.load import locust
from harness.measure.plan import Arm
from harness.measure.site import Site
from harness.results import RunFolder
from harness.workload import study as workload

FILE = "locust.json"
FOLDER = "locust"


@dataclass(frozen=True, slots=True)
class Visit:
    """How many users come for how long (seconds, each arm); 0 seconds: none come."""

    users: int = 20
    seconds: int = 10


def visit(asked: Visit, site: Site, folder: RunFolder, arms: tuple[Arm, ...]) -> None:
    """Run locust in each arm and store what it counted."""
    if asked.seconds == 0:
        return
    services = site.addresses.services().values()
    crowd = locust.Crowd(
        targets=[f"http://{address}:{workload.PORT}/" for address in services],
        source=site.target.source,
        users=asked.users,
        seconds=asked.seconds,
    )
    found = []
    with site.narrator.stage(f"locust over {len(services)} services", len(arms)) as stage:
        for arm in arms:
            site.switch.to(arm)
            prefix = folder.folder(FOLDER) / arm.value
            report = locust.run(site.cluster, site.target.client, crowd, prefix)
            found.append({"arm": arm.value, **asdict(asked), **asdict(report)})
            folder.write_json(FILE, {"services": len(services), "visits": found})
            stage.advance(detail=f"{report.rps:,.0f} requests/s, {report.failures} failures")
