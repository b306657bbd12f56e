"""Rule layouts of our own making: the model of kube-router's, mended, but for one cause of 2018.

The mended layout accepts nothing for good before both ends were asked: a policy's rule marks a
packet, and the pod's chain returns what is marked for the direction in which the pod takes part.
(One chain for both, as in 0.2.0, would else let an egress rule of the pod's neighbours admit
them.) It lets a pod reach itself. It is sound on routed nodes. Each mutant has one of the three
causes back, so that the suite has to tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from harness.enforcers.kube_router_model import layout
from harness.enforcers.kube_router_model.world import Pod
from tests.mutation.catalogue import Ground, Kind, mutant, wrap

Function = Callable[..., Any]
MARKS = {layout.Direction.INGRESS: "0x10000", layout.Direction.EGRESS: "0x20000"}
BOTH = "0x30000"


def mended() -> None:
    """Make the layout sound on routed nodes."""
    wrap(layout, "_pod_chain", _returning)
    wrap(layout._PolicyChain, "_rule", _marking)


def _returning(real: Function) -> Function:
    def pod_chain(pod: Pod, policies: Any) -> Iterator[str]:
        established, local, *jumps, reject = real(pod, policies)
        yield from (established, local)
        yield f"-s {pod.address} -d {pod.address} -j ACCEPT"
        yield f"-j MARK --set-xmark 0x0/{BOTH}"
        yield from jumps
        for way, side in ((layout.Direction.INGRESS, "-d"), (layout.Direction.EGRESS, "-s")):
            yield f"{side} {pod.address} -m mark --mark {MARKS[way]}/{MARKS[way]} -j RETURN"
        yield reject

    return pod_chain


def _marking(real: Function) -> Function:
    def rules(self: Any, way: layout.Direction, *rest: Any) -> Iterator[str]:
        mark = f"-j MARK --set-xmark {MARKS[way]}/{MARKS[way]}"
        yield from (one.replace("-j ACCEPT", mark) for one in real(self, way, *rest))

    return rules


@mutant(ground=Ground.BRIDGED, kind=Kind.LAYOUT, first="NP-DEFECT-002")
def layout_that_bridged_frames_pass_by() -> None:
    """Rules in FORWARD alone, on a bridge that does not show its frames: the study's failed row."""
    mended()


@mutant(ground=Ground.BRIDGED_NF, kind=Kind.LAYOUT, first="NP-DEFECT-001")
def layout_with_a_terminal_accept() -> None:
    """A policy's ACCEPT ends a packet's way, so that an allowed egress opens a closed ingress."""
    wrap(layout, "_pod_chain", _returning)


@mutant(ground=Ground.IPVS, kind=Kind.LAYOUT, first="NP-DEFECT-003")
def layout_that_service_traffic_passes_by() -> None:
    """Egress is asked in FORWARD alone, and IPVS sends on by OUTPUT."""
    mended()


@mutant(kind=Kind.LAYOUT, first="NP-ISO-002")
def layout_without_replies() -> None:
    """No rule accepts established connections: replies are judged like requests."""
    mended()
    wrap(layout, "_pod_chain", _without_replies)


def _without_replies(real: Function) -> Function:
    def pod_chain(pod: Pod, policies: Any) -> Iterator[str]:
        _, *rest = real(pod, policies)
        yield from rest

    return pod_chain
