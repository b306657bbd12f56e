"""Where the real control plane is looked for, and what is said where it is not whole."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.controlplane import programs
from harness.controlplane.programs import Missing, Programs, find

KUBE = programs.KUBE_PROGRAMS


@pytest.fixture(autouse=True)
def nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Begin with an empty cache, an empty PATH and no KUBEBUILDER_ASSETS."""
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.requirements.ADMIN_PATHS", ())
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    programs.version_of.cache_clear()


def install(folder: Path, version: str, *names: str) -> Path:
    """Put programs that say their version into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or (*KUBE, "etcd", "kube-proxy"):
        program = folder / name
        program.write_text(f"#!/bin/sh\necho Kubernetes {version}\n")
        program.chmod(0o755)
    return folder


def cached(version: str) -> Path:
    """Return a version's folder in the cache."""
    return programs.cache_root() / version


def folder_of(found: Programs | Missing) -> str:
    """Return where kube-apiserver was found."""
    assert isinstance(found, Programs), found
    return str(Path(found.paths["kube-apiserver"]).parent)


def test_nothing_is_found_where_nothing_is() -> None:
    """The answer names the command that helps."""
    found = find()

    assert isinstance(found, Missing)
    assert found.reason.endswith("run: nox -s control-plane")


def test_the_user_s_own_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """KUBEBUILDER_ASSETS before PATH, PATH before the cache."""
    in_cache = install(cached("v1.34.3"), "v1.34.3")
    assert folder_of(find()) == str(in_cache)

    on_path = install(tmp_path / "bin", "v1.33.1")
    assert folder_of(find()) == str(on_path)

    assets = install(tmp_path / "assets", "v1.32.1")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    assert folder_of(find()) == str(assets)


def test_programs_of_one_version_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a folder lacks comes from elsewhere if it is of the same version; else it does not."""
    assets = install(tmp_path / "assets", "v1.34.3", "kube-apiserver", "etcd")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    install(cached("v1.33.1"), "v1.33.1")
    found = find()
    assert folder_of(found) == str(cached("v1.33.1"))

    install(cached("v1.34.3"), "v1.34.3")
    found = find()
    assert isinstance(found, Programs)
    assert folder_of(found) == str(assets)
    assert found.paths["kube-scheduler"] == str(cached("v1.34.3") / "kube-scheduler")
    assert found.version == "v1.34.3"


def test_a_version_is_asked_for(tmp_path: Path) -> None:
    """Others are passed over, and named where nothing else is there."""
    install(tmp_path / "bin", "v1.33.1")
    install(cached("v1.35.0"), "v1.35.0")

    assert folder_of(find("v1.35.0")) == str(cached("v1.35.0"))
    missing = find("v1.36.0")
    assert isinstance(missing, Missing)
    assert "v1.33.1" in missing.reason
    assert missing.reason.endswith("nox -s control-plane -- --kubernetes-version v1.36.0")


def test_the_cache_s_default_version_comes_first() -> None:
    """Then the newest: a version fetched for a trial does not become everyone's."""
    for version in ("v1.33.9", programs.DEFAULT_VERSION, "v1.100.0"):
        install(cached(version), version)

    assert programs.cached_versions() == (programs.DEFAULT_VERSION, "v1.100.0", "v1.33.9")


def test_what_is_no_program_has_no_version(tmp_path: Path) -> None:
    """A file that does not run, or that says something else."""
    (tmp_path / "x").write_text("nothing")
    assert programs.version_of(str(tmp_path / "x")) == ""
    assert subprocess.run(["/bin/true"], check=True).returncode == 0
    assert programs.version_of("/bin/true") == ""
