"""An explanation as text for a person and as values for JSON."""

from __future__ import annotations

from collections.abc import Iterator

from enforcer.explain import Answer, Explanation, Side
from enforcer.ruleset.walk import Walk

_MOST_BYSTANDERS = 20
_UNKNOWN = "denied unless --unknown-pods=allow"


def lines(found: Explanation) -> Iterator[str]:
    """Return an explanation for a person, line by line."""
    for answer in found.answers:
        verdict = "OPEN" if answer.passes else "DENIED"
        yield (
            f"{verdict}: {found.client.text} ({answer.client}) to {found.server.text} "
            f"({answer.server}), {found.traffic}"
        )
        for side in answer.sides:
            yield from _side_lines(side, live=found.live)
    for problem in found.problems:
        yield f"  not understood: {problem.kind.value} {problem.subject}: {problem.message}"
    yield from (f"  note: {sentence}" for sentence in found.advice)
    if not found.live:
        yield "  the kernel was not asked: this is what the policies mean"
    for answer in found.answers:
        yield from (f"!!! DIFFERENCE !!! {text}" for text in answer.differences)


def _side_lines(side: Side, *, live: bool) -> Iterator[str]:
    where = f" on node {side.where}" if side.where else ""
    head = f"  {side.direction.value} of {side.pod}{where}:"
    if side.always:
        yield f"{head} {side.always}"
    elif side.unknown:
        yield f"{head} an address of the node's pod range, and no pod has it: {_UNKNOWN}"
    elif not side.reasons.isolated_by:
        yield f"{head} not isolated{' by any policy' if side.where else ': no pod of this cluster'}"
    else:
        policies = ", ".join(map(str, side.reasons.isolated_by))
        yield f"{head} isolated by {policies}: {'allowed' if side.passes else 'denied'}"
    for rule in side.reasons.rules if not side.always else ():
        number = f" rule {rule.rule}" if rule.rule >= 0 else ""
        yield f"    {'allows' if rule.allows else 'misses'}  {rule.policy}{number}: {rule.reason}"
    for item in side.reasons.bystanders[:_MOST_BYSTANDERS] if not side.always else ():
        yield f"    aside   {item.policy}: {item.reason}"
    if (more := len(side.reasons.bystanders) - _MOST_BYSTANDERS) > 0 and not side.always:
        yield f"    aside   {more} more policies; --output json names them"
    yield from _kernel_lines(side, live=live)


def _kernel_lines(side: Side, *, live: bool) -> Iterator[str]:
    if side.walk is None:
        if live and side.where and not side.always:
            yield f"    kernel  enforced on node {side.where}: ask there"
        return
    way = f"{side.walk.map}" + (f" -> {side.walk.chain}" if side.walk.chain else "")
    yield f"    kernel  {side.walk.outcome.value} ({way})"
    for look in side.walk.looks:
        yield f"            {'found' if look.hit else 'not'} {look.key} in {look.set}"


def as_json(found: Explanation) -> dict[str, object]:
    """Return an explanation as plain values for JSON."""
    return {
        "from": found.client.text,
        "to": found.server.text,
        "protocol": found.traffic.protocol.value if found.traffic.protocol else "ICMP",
        "port": found.traffic.port,
        "kernelAsked": found.live,
        "advice": list(found.advice),
        "answers": [_answer_json(answer) for answer in found.answers],
        "problems": [
            {"kind": item.kind.value, "subject": str(item.subject), "message": item.message}
            for item in found.problems
        ],
    }


def _answer_json(answer: Answer) -> dict[str, object]:
    return {
        "client": str(answer.client),
        "server": str(answer.server),
        "verdict": "open" if answer.passes else "denied",
        "sides": [_side_json(side) for side in answer.sides],
        "differences": list(answer.differences),
    }


def _side_json(side: Side) -> dict[str, object]:
    return {
        "direction": side.direction.value,
        "pod": side.pod,
        "node": side.where,
        "allowed": side.passes,
        "always": side.always,
        "unknown": side.unknown,
        "isolatedBy": [str(key) for key in side.reasons.isolated_by],
        "rules": [
            {
                "policy": str(item.policy),
                "rule": item.rule if item.rule >= 0 else None,
                "allows": item.allows,
                "reason": item.reason,
            }
            for item in side.reasons.rules
        ],
        "aside": [
            {"policy": str(item.policy), "reason": item.reason} for item in side.reasons.bystanders
        ],
        "kernel": _walk_json(side.walk) if side.walk else None,
    }


def _walk_json(found: Walk) -> dict[str, object]:
    return {
        "outcome": found.outcome.name.lower(),
        "map": found.map,
        "chain": found.chain,
        "lookups": [{"set": look.set, "key": look.key, "found": look.hit} for look in found.looks],
    }
