"""Changes of a cluster, as the watches of its API tell them.

:class:`enforcer.policy.cluster.Cluster` applies them in the order of their arrival.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import assert_never

from enforcer.model.objects import Key, Namespace, Node, Pod, Policy

Object = Pod | Namespace | Node | Policy


class Kind(enum.Enum):
    """The kinds of objects that enforcement depends on; the value is the API's resource name."""

    PODS = "pods"
    NAMESPACES = "namespaces"
    NODES = "nodes"
    POLICIES = "networkpolicies"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An object that cannot even be identified.

    ``key`` holds what could be read of its namespace and name; ``?`` stands for its name.
    """

    kind: Kind
    key: Key
    problem: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """The whole truth about a kind at one moment: what is not in here does not exist."""

    kind: Kind
    objects: tuple[Object | Unreadable, ...]


@dataclass(frozen=True, slots=True)
class Put:
    """An object was added or has changed."""

    item: Object | Unreadable


@dataclass(frozen=True, slots=True)
class Removed:
    """An object is gone. The namespace of a cluster-wide object's key is empty."""

    kind: Kind
    key: Key


Change = Replaced | Put | Removed


def kind_of(item: Object) -> Kind:
    """Return the kind of an object."""
    match item:
        case Pod():
            return Kind.PODS
        case Namespace():
            return Kind.NAMESPACES
        case Node():
            return Kind.NODES
        case Policy():
            return Kind.POLICIES
    assert_never(item)


def key_of(item: Object) -> Key:
    """Return the key of an object; cluster-wide objects have an empty namespace in it."""
    match item:
        case Pod() | Policy():
            return item.key
        case Namespace() | Node():
            return Key("", item.name)
    assert_never(item)
