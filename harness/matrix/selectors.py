"""Label selectors, as the API reference has them; for the oracle alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Manifest = Mapping[str, Any]


def selects(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """Ask a selector about labels."""
    # API, LabelSelector: "The result of matchLabels and matchExpressions are ANDed. An empty label
    # selector matches all objects."
    wanted = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or []
    return wanted.items() <= labels.items() and all(_meets(one, labels) for one in expressions)


def _meets(expression: Manifest, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            # https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/: what has
            # another value, "and all resources with no labels with the tier key"
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case operator:
            message = f"no such operator in a label selector: {operator}"
            raise ValueError(message)
