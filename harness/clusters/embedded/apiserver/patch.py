"""Merge patch (RFC 7386) and JSON patch (RFC 6902), on values that the caller owns.

Two short functions of two short standards; a library would bring its own copy of each document.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from harness.clusters.embedded.apiserver.resources import Lists

Document = Any
"""Any JSON value."""


class PatchError(ValueError):
    """The patch cannot be read or does not fit the document; the message says which step."""


def merge(target: Document, patch: Document) -> Document:
    """Apply a merge patch: null deletes, objects merge, all else replaces (RFC 7386 §2)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def is_plain(patch: Document, lists: Lists) -> bool:
    """Whether a strategic merge patch means the same as a merge patch.

    It does where it has no directives, and no lists but those that are replaced as a whole.
    https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
    """
    if not isinstance(patch, dict):
        return lists is Lists.ATOMIC or not isinstance(patch, list)
    return all(
        not key.startswith("$") and is_plain(value, Lists.MERGED if key == "metadata" else lists)
        for key, value in patch.items()
    )


def apply(target: Document, operations: Document) -> Document:
    """Apply a JSON patch, in place where it can; all operations or a PatchError (RFC 6902)."""
    if not isinstance(operations, list):
        raise PatchError("a JSON patch is a list of operations")
    root = {"": target}
    for number, operation in enumerate(operations):
        try:
            _step(root, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise PatchError(f"operation {number} ({operation!r}): {error}") from error
    return root[""]


def _step(root: dict[str, Document], operation: Mapping[str, Any]) -> None:
    name = operation["op"]
    if name not in _OPERATIONS:
        raise PatchError(f"unknown operation {name!r}")
    _OPERATIONS[name](root, operation)


def _add(root: dict[str, Document], operation: Mapping[str, Any]) -> None:
    _insert(root, operation["path"], operation["value"])


def _remove(root: dict[str, Document], operation: Mapping[str, Any]) -> None:
    _take(root, operation["path"])


def _replace(root: dict[str, Document], operation: Mapping[str, Any]) -> None:
    parent, key = _locate(root, operation["path"])
    _read(parent, key)
    parent[_index(parent, key) if isinstance(parent, list) else key] = operation["value"]


def _move(root: dict[str, Document], operation: Mapping[str, Any]) -> None:
    source, path = operation["from"], operation["path"]
    if path.startswith(f"{source}/"):
        raise PatchError("a value cannot move into itself")
    _insert(root, path, _take(root, source))


def _copy(root: dict[str, Document], operation: Mapping[str, Any]) -> None:
    value = _read(*_locate(root, operation["from"]))
    _insert(root, operation["path"], copy.deepcopy(value))


def _test(root: dict[str, Document], operation: Mapping[str, Any]) -> None:
    found = _read(*_locate(root, operation["path"]))
    if not _same(found, operation["value"]):
        raise PatchError(f"the value is {found!r}")


_OPERATIONS: Mapping[str, Callable[[dict[str, Document], Mapping[str, Any]], None]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _locate(root: dict[str, Document], pointer: str) -> tuple[Document, str]:
    """Return the container and the last token of a JSON pointer (RFC 6901)."""
    if pointer and not pointer.startswith("/"):
        raise PatchError(f"{pointer!r} is not a JSON pointer")
    tokens = [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")]
    parent: Document = root
    for token in tokens[:-1]:
        parent = _read(parent, token)
    return parent, tokens[-1]


def _read(parent: Document, key: str) -> Document:
    if isinstance(parent, list):
        return parent[_index(parent, key)]
    if isinstance(parent, dict) and key in parent:
        return parent[key]
    raise PatchError(f"there is no {key!r}")


def _insert(root: dict[str, Document], pointer: str, value: Document) -> None:
    parent, key = _locate(root, pointer)
    match parent:
        case list():
            parent.insert(len(parent) if key == "-" else _index(parent, key, extra=1), value)
        case dict():
            parent[key] = value
        case _:
            raise PatchError(f"{key!r} has no container")


def _take(root: dict[str, Document], pointer: str) -> Document:
    parent, key = _locate(root, pointer)
    value = _read(parent, key)
    del parent[_index(parent, key) if isinstance(parent, list) else key]
    return value


def _index(parent: list[Document], key: str, extra: int = 0) -> int:
    if not key.isascii() or not key.isdigit() or (key != "0" and key.startswith("0")):
        raise PatchError(f"{key!r} is not an index")
    if int(key) >= len(parent) + extra:
        raise PatchError(f"there is no element {key}")
    return int(key)


def _same(left: Document, right: Document) -> bool:
    """Whether two values are equal as JSON: to Python ``True`` equals 1, to JSON it does not."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)
