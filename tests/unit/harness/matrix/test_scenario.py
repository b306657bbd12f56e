"""Scenario files: the study's own, and what is said about broken ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.matrix.model import StudyResult
from harness.matrix.scenario import Scenario, as_v1, folder, load_scenario


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Return a copy of the study's scenario, to break."""
    shutil.copytree(folder() / "study", tmp_path / "study")
    return tmp_path / "study" / "cases.yaml"


def complaints(path: Path) -> list[str]:
    """Return what is said about a file, line by line."""
    with pytest.raises(UsageError) as caught:
        load_scenario(path)
    return str(caught.value).splitlines()


def edit(path: Path, *changes: tuple[str, str]) -> Path:
    """Replace texts of a file, each of which has to be there."""
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)
    return path


def test_the_study_is_whole(study: Scenario) -> None:
    """Six rows with the study's own results, and the five documented policies as printed."""
    results = [one.study for one in study.cases if one.study]

    assert results == [StudyResult.PASS] * 5
    assert [row.study for row in study.rows if row.study] == [StudyResult.FAIL]
    printed = [p for name, (p,) in study.files.items() if name.startswith("policies/")]
    documented = [p for p in printed if p["apiVersion"] == "extensions/v1beta1"]
    assert len(documented) == 6, "five as printed, and the third without its ports"


def test_documented_policies_word_for_word() -> None:
    """A policy is stored as it is printed, old group and all."""
    text = (folder() / "study/policies/2-nobody-may-reach-the-namespace.yaml").read_text()

    assert text == (
        "apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata:\n  name: npa\n"
        "  namespace: nsa\nspec:\n  podSelector: {}\n  policyTypes:\n  - Ingress\n"
    )


def test_old_policies_are_sent_as_v1(study: Scenario) -> None:
    """What is sent differs from what is printed in its apiVersion alone."""
    for manifests in study.files.values():
        for manifest in manifests:
            sent = as_v1(manifest)
            assert sent["apiVersion"] == "networking.k8s.io/v1"
            assert sent | {"apiVersion": ""} == manifest | {"apiVersion": ""}


def test_all_mistakes_at_once(broken: Path) -> None:
    """Wrong values, unknown and missing keys of one file are told together, with their lines."""
    edit(
        broken,
        ("verdict: open", "verdict: closed"),
        ("study: Pass", "study: Perhaps"),
        ("servers: [nsa]", "server: [nsa]"),
        ("rule: Pods in the same", "headline: Pods in the same"),
    )
    said = complaints(broken)

    for part in (
        "cases[0].expect[0].verdict: 'closed' is none of open, denied",
        "cases[1].study: 'Perhaps' is none of Pass, Fail",
        "cases[1].expect[0].server: is not known",
        "cases[2].rule: is missing",
        "cases[2].headline: is not known",
    ):
        assert any(part in line for line in said), part
    assert all(line.startswith(f"{broken}:") for line in said)


def test_names_that_nobody_has(broken: Path) -> None:
    """An expectation about somebody who is not there is a mistake, not an expectation."""
    edit(broken, ("clients: [nsb]", "clients: [nsx]"), ("ports: [5978]", "ports: [5979]"))
    said = "\n".join(complaints(broken))

    assert "nobody is called nsx" in said
    assert "port 5979 is not probed" in said


def test_ids_twice(broken: Path) -> None:
    """Ids are stable names, so no two cases share one."""
    edit(broken, ("id: NP-STUDY-02", "id: NP-STUDY-01"))

    assert any("is the id of two cases" in line for line in complaints(broken))


def test_key_twice(broken: Path) -> None:
    """A key that is there twice would silently win over the first."""
    edit(broken, ("    policies: []\n", "    policies: []\n    policies: []\n"))

    assert any("cases[0].policies: is there twice" in line for line in complaints(broken))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("a: [", "is not YAML"),
        ("{kind: Pod}", "is not a NetworkPolicy"),
        ("{kind: NetworkPolicy, apiVersion: v2, spec: {}}", "'v2' is none of"),
        ("{kind: NetworkPolicy, apiVersion: networking.k8s.io/v1}", "has no spec"),
    ],
)
def test_broken_policies(broken: Path, text: str | None, said: str) -> None:
    """A policy file that is missing or wrong is named."""
    path = broken.parent / "policies" / "nobody-may-reach-nsb.yaml"
    path.unlink() if text is None else path.write_text(text)
    (line,) = complaints(broken)

    assert "policies/nobody-may-reach-nsb.yaml" in line
    assert said in line


@pytest.mark.parametrize("text", ["", "a: [", "[1]", "text"])
def test_files_that_are_something_else(broken: Path, text: str) -> None:
    """Whatever is not a scenario is told in a sentence."""
    broken.write_text(text)

    assert all(str(broken) in line for line in complaints(broken))
