"""How the cache is filled: downloaded and checked, else built; whole, or not at all."""

from __future__ import annotations

import hashlib
import io
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from harness.controlplane import fill as filling
from harness.controlplane import module, programs
from harness.controlplane.release import NotFetchedError, Tell
from harness.errors import HarnessError
from harness.requirements import architecture

VERSION = "v1.34.3"
Site = dict[str, bytes]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Keep the cache in the test's folder, with an etcd on PATH."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    etcd = tmp_path / "bin" / "etcd"
    etcd.parent.mkdir()
    etcd.write_text("#!/bin/sh\n")
    etcd.chmod(0o755)
    monkeypatch.setattr(filling, "find_tool", lambda _: str(etcd))
    return programs.cache_root()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    """Serve files at URLs instead of the network's; a URL that is not there is refused."""
    files: Site = {}

    def open_url(url: str, timeout: float) -> Any:
        assert timeout > 0
        if url not in files:
            raise urllib.error.URLError("refused")
        answer = io.BytesIO(files[url])
        headers = Message()
        headers["Content-Length"] = str(len(files[url]))
        answer.headers = headers  # type: ignore[attr-defined]
        return answer

    monkeypatch.setattr(urllib.request, "urlopen", open_url)
    return files


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Build instantly, and remember what was built."""
    built: list[tuple[str, ...]] = []

    def build(names: Sequence[str], version: str, folder: Path, tell: Tell) -> None:
        assert version == VERSION
        tell("build", 1, 1)
        built.append(tuple(names))
        for name in names:
            (folder / name).write_text("built")
            (folder / name).chmod(0o755)

    monkeypatch.setattr(filling, "build", build)
    return built


def publish(site: Site, *, spoil: str = "") -> None:
    """Put a release on the site, with one program that is not what its checksum says."""
    for name in (*programs.KUBE_PROGRAMS, programs.KUBE_PROXY):
        url = f"https://dl.k8s.io/release/{VERSION}/bin/linux/{architecture()}/{name}"
        content = f"program {name}".encode()
        site[url] = content
        checked = content + b"!" if name == spoil else content
        site[f"{url}.sha256"] = hashlib.sha256(checked).hexdigest().encode()


def run(said: list[str] | None = None, **options: Any) -> Path:
    """Fill the cache."""
    say: Callable[[str], None] = (said if said is not None else []).append
    return filling.fill(VERSION, lambda *_: None, say, **options)


def test_a_release_is_downloaded(site: Site, builds: list[tuple[str, ...]]) -> None:
    """Every program can be run; etcd, which is no part of it, is the one on PATH."""
    publish(site)

    folder = run()

    assert folder == programs.cache_root() / VERSION
    assert sorted(path.name for path in folder.iterdir()) == sorted(filling.PROGRAMS)
    assert (folder / "kube-proxy").read_text() == "program kube-proxy"
    assert filling.is_whole(folder)
    assert builds == []


def test_what_cannot_be_downloaded_is_built(site: Site, builds: list[tuple[str, ...]]) -> None:
    """All that is not on PATH, and why is said."""
    said: list[str] = []

    folder = run(said)

    assert site == {}
    assert builds == [filling.PROGRAMS[1:]]
    assert filling.is_whole(folder)
    assert (folder / "etcd").read_text() == "#!/bin/sh\n"
    assert "refused" in said[1]
    assert "building it with Go" in said[1]


def test_etcd_is_built_where_there_is_none(
    site: Site, builds: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the rest, or alone beside a release."""
    monkeypatch.setattr(filling, "find_tool", lambda _: None)
    run()
    publish(site)
    run(again=True)

    assert builds == [filling.PROGRAMS, ("etcd",)]


def test_a_wrong_checksum_is_no_download(site: Site, builds: list[tuple[str, ...]]) -> None:
    """Nothing of such a release is taken."""
    publish(site, spoil="kube-scheduler")
    said: list[str] = []

    folder = run(said)

    assert "SHA-256" in said[1]
    assert builds == [filling.PROGRAMS[1:]]
    assert (folder / "kube-apiserver").read_text() == "built"


def test_what_is_there_is_not_fetched_again(site: Site, builds: list[tuple[str, ...]]) -> None:
    """Unless it is asked for; then the new one takes its place."""
    run()
    publish(site)
    said: list[str] = []

    assert (run(said) / "kube-proxy").read_text() == "built"
    assert said == [f"the cache has Kubernetes {VERSION} already"]
    assert (run(again=True) / "kube-proxy").read_text() == "program kube-proxy"
    assert len(builds) == 1


@pytest.mark.parametrize("failure", [NotFetchedError("no compiler"), KeyboardInterrupt()])
def test_nothing_half_made_is_left(
    site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    """Neither by a failure, which is one clear error, nor by Ctrl-C."""

    def build(names: Sequence[str], version: str, folder: Path, tell: Tell) -> None:
        tell(version, 0, len(names))
        (folder / "kube-apiserver").write_text("half")
        raise failure

    monkeypatch.setattr(filling, "build", build)
    with pytest.raises((HarnessError, KeyboardInterrupt)) as raised:
        run()

    assert site == {}
    assert [path.name for path in cache.iterdir()] == [".lock"]
    if isinstance(raised.value, HarnessError):
        assert "refused" in str(raised.value)
        assert "no compiler" in str(raised.value)
        assert "KUBEBUILDER_ASSETS" in str(raised.value)


KUBERNETES_MOD = """\
module k8s.io/kubernetes

go 1.24.0

require (
	go.etcd.io/etcd/client/v3 v3.6.4
	k8s.io/api v0.0.0
)

replace (
	k8s.io/api => ./staging/src/k8s.io/api
	k8s.io/kube-proxy => ./staging/src/k8s.io/kube-proxy
)
"""


def test_staging_modules_are_replaced_by_their_releases() -> None:
    """The generated module asks for one Kubernetes, its staging modules and its etcd."""
    assert module.go_mod(VERSION, KUBERNETES_MOD).splitlines() == [
        "module controlplane.invalid/build",
        "go 1.24",
        "require k8s.io/kubernetes v1.34.3",
        "require go.etcd.io/etcd/server/v3 v3.6.4",
        "replace k8s.io/api => k8s.io/api v0.34.3",
        "replace k8s.io/kube-proxy => k8s.io/kube-proxy v0.34.3",
    ]


def test_built_programs_say_their_version() -> None:
    """As released ones do."""
    flags = module.linker_flags(VERSION)

    assert "k8s.io/component-base/version.gitVersion=v1.34.3" in flags
    assert "k8s.io/component-base/version.gitMinor=34" in flags
