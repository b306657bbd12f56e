"""Selectors of a query string select what Kubernetes would select."""

from __future__ import annotations

from typing import Any

import pytest

from harness.clusters.embedded.apiserver.errors import ApiError, Reason
from harness.clusters.embedded.apiserver.resources import NODES, PODS
from harness.clusters.embedded.apiserver.selectors import Selection, parse_fields, parse_labels

POD: dict[str, Any] = {
    "metadata": {"name": "a", "namespace": "n", "labels": {"app": "web", "tier": "", "x/y": "1"}},
    "spec": {"nodeName": "n1"},
    "status": {"phase": "Running"},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web , tier=", True),
        ("app=db", False),
        ("app!=db", True),
        ("missing!=db", True),
        ("app", True),
        ("!app", False),
        ("missing", False),
        ("!missing", True),
        ("app in (db, web)", True),
        ("app in (db)", False),
        ("app notin (db,cache)", True),
        ("missing notin (db)", True),
        ("app notin (web)", False),
        ("x/y=1,app in (web),!z", True),
        ("app in (web),tier=front", False),
        ("tier in ()", True),
        ("inner=1", False),
    ],
)
def test_a_label_selector_selects(text: str, expected: bool) -> None:
    """All requirements together; a missing key is in no list."""
    assert Selection(labels=parse_labels(text)).matches(POD) is expected


@pytest.mark.parametrize("text", ["=web", "app in web", "app=a=b", "app=web,", "app in (a", ","])
def test_a_label_selector_that_cannot_be_read_is_refused(text: str) -> None:
    """A selector is never read as something that it does not say."""
    with pytest.raises(ApiError) as refused:
        parse_labels(text)

    assert refused.value.reason is Reason.BAD_REQUEST


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("spec.nodeName=n1", True),
        ("spec.nodeName==n1,status.phase!=Failed", True),
        ("spec.nodeName=n2", False),
        ("metadata.name=a,metadata.namespace=n", True),
        ("metadata.name!=a", False),
        ("status.podIP=", True),
        ("spec.hostNetwork=false", True),
        (r"metadata.name=a\,b", False),
    ],
)
def test_a_field_selector_selects(text: str, expected: bool) -> None:
    """An absent field is the empty string, or ``false``."""
    assert Selection(fields=parse_fields(text, PODS)).matches(POD) is expected


@pytest.mark.parametrize("text", ["spec.nodeName=n1", "nonsense", "metadata.labels=x"])
def test_a_field_that_a_kind_does_not_have_is_refused(text: str) -> None:
    """A field selector that cannot be served must not select everything."""
    with pytest.raises(ApiError) as refused:
        parse_fields(text, NODES)

    assert refused.value.reason is Reason.BAD_REQUEST


def test_a_namespace_is_part_of_a_selection() -> None:
    """Objects of other namespaces are not selected."""
    assert Selection(namespace="n").matches(POD)
    assert not Selection(namespace="m").matches(POD)
