"""A strict reader of YAML into frozen dataclasses that tells every mistake of a file at once.

Unknown keys, missing keys, keys given twice and values of another type are mistakes; each is told
with file, line, the path to it and what is wrong. Field types may be ``str``, ``int``, ``bool``,
enums, dataclasses, ``tuple[X, ...]``, ``dict[str, X]``, ``X | None``, and ``str | dict[str, Any]``
for what may be a name or a manifest.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from harness.errors import UsageError

T = TypeVar("T")
_WORDS: Mapping[type, str] = {str: "text", int: "a whole number", bool: "true or false"}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, where PyYAML was built with it: ten times as fast."""


def load(kind: type[T], path: Path) -> T:
    """Read a file as ``kind``; raises UsageError with one line for each mistake."""
    mistakes = Mistakes(path)
    node = compose(path)
    value = _decode(kind, node, "", mistakes)
    mistakes.raise_any()
    return typing.cast("T", value)


@dataclass(frozen=True, slots=True)
class Mistakes:
    """The mistakes of one file so far."""

    path: Path
    lines: list[str] = field(default_factory=list)

    def add(self, where: str, what: str, node: yaml.Node | None = None) -> None:
        """Note one; ``where`` is a path such as ``rows[2].verdict``."""
        line = f":{node.start_mark.line + 1}" if node is not None else ""
        self.lines.append(f"{self.path}{line}: {where or 'the file'}: {what}")

    def raise_any(self) -> None:
        """Raise UsageError if there are any."""
        if self.lines:
            raise UsageError("\n".join(self.lines))


def compose(path: Path) -> yaml.Node:
    """Parse one YAML document without giving it a meaning yet."""
    try:
        node = yaml.compose(path.read_text(), _LOADER)
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem.strerror}") from problem
    except yaml.YAMLError as problem:
        raise UsageError(f"{path}: is not YAML: {' '.join(str(problem).split())}") from problem
    if node is None:
        raise UsageError(f"{path}: the file: is empty")
    return node


def _decode(  # noqa: PLR0911  # a return for each kind of type
    kind: Any, node: yaml.Node, where: str, mistakes: Mistakes
) -> Any:
    if kind is Any:
        return _value(node)
    origin = typing.get_origin(kind)
    if origin in {types.UnionType, typing.Union}:
        return _decode_optional(kind, node, where, mistakes)
    if origin is tuple:
        return _decode_list(typing.get_args(kind)[0], node, where, mistakes)
    if origin is dict:
        return _decode_entries(typing.get_args(kind)[1], node, where, mistakes)
    if dataclasses.is_dataclass(kind):
        return _decode_object(kind, node, where, mistakes)
    if issubclass(kind, enum.Enum):
        return _decode_enum(kind, node, where, mistakes)
    return _decode_scalar(kind, node, where, mistakes)


def _value(node: yaml.Node) -> Any:
    return yaml.constructor.SafeConstructor().construct_document(node)


def _decode_optional(kind: Any, node: yaml.Node, where: str, mistakes: Mistakes) -> Any:
    if types.NoneType not in typing.get_args(kind):
        text, mapping = typing.get_args(kind)
        is_mapping = isinstance(node, yaml.MappingNode)
        return _decode(mapping if is_mapping else text, node, where, mistakes)
    (inner,) = (one for one in typing.get_args(kind) if one is not types.NoneType)
    if node.tag == "tag:yaml.org,2002:null":
        return None
    return _decode(inner, node, where, mistakes)


def _decode_list(inner: Any, node: yaml.Node, where: str, mistakes: Mistakes) -> Any:
    if not isinstance(node, yaml.SequenceNode):
        mistakes.add(where, "has to be a list", node)
        return ()
    return tuple(
        _decode(inner, one, f"{where}[{at}]", mistakes) for at, one in enumerate(node.value)
    )


def _decode_entries(inner: Any, node: yaml.Node, where: str, mistakes: Mistakes) -> dict[str, Any]:
    entries = _entries(node, where, mistakes)
    return {key: _decode(inner, one, f"{where}.{key}", mistakes) for key, one in entries.items()}


def _decode_scalar(kind: type, node: yaml.Node, where: str, mistakes: Mistakes) -> Any:
    value = _value(node)
    if type(value) is not kind:
        mistakes.add(where, f"{value!r} is not {_WORDS[kind]}", node)
    return value


def _decode_enum(kind: type[enum.Enum], node: yaml.Node, where: str, mistakes: Mistakes) -> Any:
    value = _value(node)
    known = {member.value: member for member in kind}
    if not isinstance(value, str) or value not in known:
        mistakes.add(where, f"{value!r} is none of {', '.join(known)}", node)
        return None
    return known[value]


def _decode_object(kind: Any, node: yaml.Node, where: str, mistakes: Mistakes) -> Any:
    before = len(mistakes.lines)
    entries = _entries(node, where, mistakes)
    hints = typing.get_type_hints(kind)
    fields = {one.name: one for one in dataclasses.fields(kind) if one.init}
    prefix = f"{where}." if where else ""
    for name in entries.keys() - fields.keys():
        known = ", ".join(fields)
        mistakes.add(f"{prefix}{name}", f"is not known; known are {known}", entries[name])
    for name, one in fields.items():
        if name not in entries and _is_required(one):
            mistakes.add(f"{prefix}{name}", "is missing", node)
    values = {
        name: _decode(hints[name], entries[name], f"{prefix}{name}", mistakes)
        for name in fields
        if name in entries
    }
    return kind(**values) if len(mistakes.lines) == before else None


def _is_required(one: dataclasses.Field[Any]) -> bool:
    return one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING


def _entries(node: yaml.Node, where: str, mistakes: Mistakes) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        mistakes.add(where, "has to be a mapping of names to values", node)
        return {}
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = str(key.value)
        if name in found:
            mistakes.add(f"{where}.{name}".lstrip("."), "is there twice", key)
        found[name] = value
    return found
