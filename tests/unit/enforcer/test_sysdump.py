"""What a sysdump keeps of the cluster's objects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from enforcer import cli
from enforcer.errors import SettingsError
from enforcer.kube import load_dump
from enforcer.model.changes import Kind
from enforcer.sysdump import _FIELDS, pruned

POD = {
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "uid": "1",
        "labels": {"app": "web"},
        "annotations": {"password": "swordfish"},
    },
    "spec": {
        "nodeName": "one",
        "containers": [
            {
                "name": "web",
                "image": "registry.example/private",
                "env": [{"name": "PASSWORD", "value": "swordfish"}],
                "args": ["--password=swordfish"],
                "ports": [{"name": "http", "containerPort": 80}],
            }
        ],
        "volumes": [{"name": "v", "secret": {"secretName": "swordfish"}}],
    },
    "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.2"}], "message": "swordfish"},
}


def test_what_a_pod_is_told_is_left_out() -> None:
    """Environment, arguments, annotations, volumes and images go; what enforcement reads stays."""
    kept = pruned(POD, _FIELDS[Kind.PODS])

    assert "swordfish" not in json.dumps(kept)
    assert "private" not in json.dumps(kept)
    assert kept["spec"]["containers"] == [
        {"name": "web", "ports": [{"name": "http", "containerPort": 80}]}
    ]


def test_what_is_kept_means_the_same(tmp_path: Path) -> None:
    """A pod that was cut down is the same pod to the enforcer."""
    clusters = []
    for number, pod in enumerate((POD, pruned(POD, _FIELDS[Kind.PODS]))):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps({"kind": "Pod", **pod}))
        clusters.append(load_dump(path))

    assert clusters[0].pods == clusters[1].pods


def test_what_is_no_object_is_no_secret_either() -> None:
    """Where an object should be and is not, nothing of it is kept."""
    assert pruned({"metadata": "swordfish"}, _FIELDS[Kind.PODS]) == {"metadata": None}


def test_a_place_that_cannot_be_written_is_wrong_use(tmp_path: Path) -> None:
    """A directory, or one that is not there: a sentence that names the option, and exit code 2."""
    for place in (tmp_path, tmp_path / "none" / "dump.tgz"):
        arguments = ["sysdump", "--node-name=n1", f"--file={place}"]
        with pytest.raises(SettingsError, match=f"--file: .*{place.name}"):
            cli.enforcer(arguments, standalone_mode=False)
