"""Label and field selectors as a query string writes them.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#api
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.clusters.embedded.apiserver.errors import ApiError, Reason
from harness.clusters.embedded.apiserver.resources import Kind, Object


class Operator(enum.Enum):
    """How a requirement compares. A missing key is *not in* every list."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    MISSING = "!"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One comparison of a key's value."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def accepts(self, value: str | None) -> bool:
        """Whether a value (None: there is no such key) meets the requirement."""
        match self.operator:
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:
                return value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.MISSING:
                return value is None


@dataclass(frozen=True, slots=True)
class Selection:
    """What a list or a watch asks for: a namespace (empty: all), labels and fields."""

    namespace: str = ""
    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    @property
    def filters(self) -> bool:
        """Whether labels or fields leave anything out."""
        return bool(self.labels or self.fields)

    def matches(self, value: Object) -> bool:
        """Whether an object is asked for."""
        metadata = value["metadata"]
        if self.namespace and metadata.get("namespace") != self.namespace:
            return False
        labels = metadata.get("labels") or {}
        return all(r.accepts(labels.get(r.key)) for r in self.labels) and all(
            r.accepts(_field(value, r.key)) for r in self.fields
        )


_REQUIREMENT = re.compile(
    r"""\s*(?:
        !\s*(?P<missing>[^\s,=!()]+)
      | (?P<set_key>[^\s,=!()]+)\s+(?P<set_op>in|notin)\s*\((?P<set>[^()]*)\)
      | (?P<key>[^\s,=!()]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s,=!()]*)
      | (?P<exists>[^\s,=!()]+)
    )\s*(?:,(?=.)|$)""",
    re.VERBOSE,
)


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """Read a ``labelSelector``: ``a=b,c!=d,e in (f,g),h notin (i),j,!k``."""
    found: list[Requirement] = []
    position = 0
    while position < len(text):
        match = _REQUIREMENT.match(text, position)
        if match is None:
            raise _unreadable("labelSelector", text)
        found.append(_requirement(match.groupdict()))
        position = match.end()
    return tuple(found)


def _requirement(part: Mapping[str, str | None]) -> Requirement:
    match part:
        case {"missing": str(key)}:
            return Requirement(key, Operator.MISSING)
        case {"exists": str(key)}:
            return Requirement(key, Operator.EXISTS)
        case {"set_key": str(key), "set_op": str(word), "set": str(values)}:
            listed = frozenset(value.strip() for value in values.split(","))
            return Requirement(key, Operator(word), listed)
        case {"key": str(key), "op": str(sign), "value": str(value)}:
            operator = Operator.NOT_IN if sign == "!=" else Operator.IN
            return Requirement(key, operator, frozenset({value}))
    raise AssertionError(part)


_TERM = re.compile(r"([^=!,]+)(==|=|!=)((?:[^=,\\]|\\.)*)(?:,(?=.)|$)")


def parse_fields(text: str, kind: Kind) -> tuple[Requirement, ...]:
    """Read a ``fieldSelector``: ``spec.nodeName=n1,status.phase!=Failed``; unknown fields: 400."""
    found: list[Requirement] = []
    position = 0
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None:
            raise _unreadable("fieldSelector", text)
        key, sign, value = match.groups()
        if key not in {"metadata.name", "metadata.namespace", *kind.fields}:
            message = f'field label not supported for {kind.resource}: "{key}"'
            raise ApiError(Reason.BAD_REQUEST, message)
        operator = Operator.NOT_IN if sign == "!=" else Operator.IN
        found.append(Requirement(key, operator, frozenset({re.sub(r"\\(.)", r"\1", value)})))
        position = match.end()
    return tuple(found)


def _field(value: Object, path: str) -> str:
    """Return a field as a selector sees it: an absent one is the empty string or ``false``."""
    found: Any = value
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    match found:
        case None:
            return "false" if path in _BOOLEANS else ""
        case bool():
            return str(found).lower()
    return str(found)


_BOOLEANS = {"spec.hostNetwork", "spec.unschedulable"}


def _unreadable(what: str, text: str) -> ApiError:
    return ApiError(Reason.BAD_REQUEST, f"unable to parse {what}: {text!r}")
