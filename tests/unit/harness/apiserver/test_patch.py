"""Patches do what RFC 7386 and RFC 6902 say, their own examples included."""

from __future__ import annotations

from typing import Any

import pytest

from harness.clusters.embedded.apiserver import patch
from harness.clusters.embedded.apiserver.resources import Lists


@pytest.mark.parametrize(
    ("target", "change", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_follows_the_examples_of_its_rfc(
    target: Any, change: Any, expected: Any
) -> None:
    """Null deletes, objects merge, all else replaces (RFC 7386, appendix A)."""
    assert patch.merge(target, change) == expected


@pytest.mark.parametrize(
    ("target", "operations", "expected"),
    [
        (
            {"foo": "bar"},
            [{"op": "add", "path": "/baz", "value": "qux"}],
            {"baz": "qux", "foo": "bar"},
        ),
        (
            {"foo": ["bar", "baz"]},
            [{"op": "add", "path": "/foo/1", "value": "qux"}],
            {"foo": ["bar", "qux", "baz"]},
        ),
        (
            {"foo": ["bar"]},
            [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}],
            {"foo": ["bar", ["abc", "def"]]},
        ),
        ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
        (
            {"foo": ["bar", "qux", "baz"]},
            [{"op": "remove", "path": "/foo/1"}],
            {"foo": ["bar", "baz"]},
        ),
        (
            {"baz": "qux", "foo": "bar"},
            [{"op": "replace", "path": "/baz", "value": "boo"}],
            {"baz": "boo", "foo": "bar"},
        ),
        (
            {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
            [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
            {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
        ),
        (
            {"foo": ["all", "grass", "cows", "eat"]},
            [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
            {"foo": ["all", "cows", "eat", "grass"]},
        ),
        (
            {"baz": "qux", "foo": ["a", 2, "c"]},
            [
                {"op": "test", "path": "/baz", "value": "qux"},
                {"op": "test", "path": "/foo/1", "value": 2},
            ],
            {"baz": "qux", "foo": ["a", 2, "c"]},
        ),
        ({"foo": "bar"}, [{"op": "replace", "path": "", "value": {"a": 1}}], {"a": 1}),
        (
            {"/": 9, "~1": 10},
            [{"op": "test", "path": "/~01", "value": 10}],
            {"/": 9, "~1": 10},
        ),
        (
            {"a": {"x/y": 1}},
            [{"op": "copy", "from": "/a/x~1y", "path": "/b"}],
            {"a": {"x/y": 1}, "b": 1},
        ),
    ],
)
def test_a_json_patch_follows_the_examples_of_its_rfc(
    target: Any, operations: Any, expected: Any
) -> None:
    """Operations apply one after the other, at JSON pointers (RFC 6902, appendix A)."""
    assert patch.apply(target, operations) == expected


@pytest.mark.parametrize(
    "operations",
    [
        {"op": "add"},
        [{"op": "add", "path": "/a/b/c", "value": 1}],
        [{"op": "remove", "path": "/missing"}],
        [{"op": "replace", "path": "/missing", "value": 1}],
        [{"op": "test", "path": "/list/0", "value": True}],
        [{"op": "test", "path": "/missing", "value": 1}],
        [{"op": "add", "path": "/list/2", "value": 1}],
        [{"op": "add", "path": "/list/01", "value": 1}],
        [{"op": "add", "path": "no-slash", "value": 1}],
        [{"op": "add", "path": "/list/-"}],
        [{"op": "move", "from": "/a", "path": "/a/b"}],
        [{"op": "invent", "path": "/a"}],
        [{"path": "/a"}],
        ["remove"],
    ],
)
def test_a_json_patch_that_does_not_fit_is_an_error(operations: Any) -> None:
    """What cannot be done is a PatchError, never a guess; ``true`` is not the number 1."""
    with pytest.raises(patch.PatchError):
        patch.apply({"a": {}, "list": [1]}, operations)


@pytest.mark.parametrize(
    ("change", "lists", "expected"),
    [
        ({"metadata": {"labels": {"a": "b"}}}, Lists.MERGED, True),
        ({"spec": {"ports": []}}, Lists.MERGED, False),
        ({"spec": {"ingress": [{"from": []}]}}, Lists.ATOMIC, True),
        ({"metadata": {"finalizers": ["x"]}}, Lists.ATOMIC, False),
        ({"metadata": {"$patch": "replace"}}, Lists.ATOMIC, False),
    ],
)
def test_a_strategic_patch_is_plain_only_where_it_means_a_merge_patch(
    change: Any, lists: Lists, expected: bool
) -> None:
    """Directives, and lists that Kubernetes merges by key, make it something else."""
    assert patch.is_plain(change, lists) is expected
