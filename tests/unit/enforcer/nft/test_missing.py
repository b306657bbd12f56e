"""What is said where nft, the privilege or the kernel's part is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from enforcer import daemon, programs
from enforcer.errors import KernelError, MissingError
from enforcer.nft.kernel import NftKernel, check_nft
from enforcer.nft.objects import TableFamily, TableId
from enforcer.nft.transaction import AddTable, Transaction
from enforcer.settings import Settings

T = TableId(TableFamily.INET, "npd")


def pretend(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str, error: str = "") -> None:
    """Put an nft on the PATH that knows its version and fails at everything else."""
    script = folder / "nft"
    script.write_text(
        "#!/bin/sh\n"
        f'case "$1" in --version) echo "nftables {version} (name)"; exit 0;; esac\n'
        "cat > /dev/null\n"
        f'echo "{error}" >&2\n'
        f"exit {1 if error else 0}\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_nft_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the command that installs it."""
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)

    with pytest.raises(MissingError, match="apt-get install nftables"):
        check_nft()


async def test_all_that_is_missing_is_said_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The daemon names nft and iproute2 at once, before it listens or lists."""
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)

    with pytest.raises(MissingError) as raised:
        await daemon.run(Settings("n1"))

    assert str(raised.value).splitlines() == [
        "nft is not installed; run: apt-get install nftables",
        "ip is not installed; run: apt-get install iproute2",
    ]


def test_a_program_beside_the_path_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PATH without sbin, as services and containers have it, is enough."""
    (tmp_path / "ip").touch(mode=0o755)
    monkeypatch.setattr(programs, "SYSTEM_FOLDERS", str(tmp_path))
    monkeypatch.setenv("PATH", "/nonexistent")

    assert programs.find("ip") == str(tmp_path / "ip")


def test_nft_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what is needed and what is there."""
    pretend(tmp_path, monkeypatch, "v0.9.8")

    with pytest.raises(MissingError, match=r"1\.0\.2 or newer .* v0\.9\.8"):
        check_nft()


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("Operation not permitted (you must be root)", "run as root"),
        ("Unable to initialize Netlink socket: Protocol not supported", "modprobe nf_tables"),
        ("something else", "something else"),
    ],
)
def test_nft_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, advice: str
) -> None:
    """Each reason has its own advice."""
    pretend(tmp_path, monkeypatch, "v1.0.6", error)

    with pytest.raises(MissingError, match=advice):
        check_nft()


def test_nft_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nft 1.0.6 does, where a newer one made sets: the sentence says so, for nft says nothing."""
    pretend(tmp_path, monkeypatch, "v1.0.6")
    crashing = '[ "$1" = --version ] && echo nftables v1.0.6 || kill -SEGV $$'
    (tmp_path / "nft").write_text(f"#!/bin/sh\n{crashing}\n")

    crash = "ended by SIGSEGV, as an nft is by sets that a newer"
    with pytest.raises(MissingError, match=crash):
        check_nft()
    with pytest.raises(KernelError, match=crash):
        NftKernel().apply(Transaction((AddTable(T),)))
    with pytest.raises(KernelError, match=crash):
        NftKernel().read([T])


def test_nft_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new enough nft that can list tables is all that is asked for."""
    pretend(tmp_path, monkeypatch, "v1.0.6")

    check_nft()


def test_a_refusal_without_a_line_still_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nft said is never lost, in whatever form it said it."""
    pretend(tmp_path, monkeypatch, "v1.0.6", "netlink: Error: cache initialization failed")

    with pytest.raises(KernelError, match="cache initialization failed"):
        NftKernel().apply(Transaction((AddTable(T),)))
    with pytest.raises(KernelError, match="cache initialization failed"):
        NftKernel().read([T])
