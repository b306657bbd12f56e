from __future__ import annotations

import gzip
import lzma
import shlex
import subprocess
from pathlib import Path

import pytest

from harness.lab import initrd
from harness.lab.debian import Kernel
from harness.lab.machine import PROJECT, Job


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """Return a kernel whose overlay module is compressed and needs another one."""
    modules = tmp_path / "lib" / "modules" / "6.1.0"
    (modules / "fs").mkdir(parents=True)
    (modules / "fs" / "exportfs.ko").write_bytes(b"exportfs")
    (modules / "fs" / "overlay.ko.xz").write_bytes(lzma.compress(b"overlay"))
    dependencies = "fs/exportfs.ko:\nfs/overlay.ko.xz: fs/exportfs.ko\n"
    (modules / "modules.dep").write_text(dependencies)
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"a shell")
    return Kernel("6.1.0", tmp_path / "vmlinuz", modules, busybox)


@pytest.mark.optional("cpio")
def test_cpio_unpacks_the_archive_whole(kernel: Kernel, tmp_path: Path) -> None:
    """Another program reads the archive as it was meant: files, contents and modes."""
    archive = gzip.decompress(initrd.build(kernel))
    there = tmp_path / "there"
    there.mkdir()

    subprocess.run(["cpio", "-id", "--quiet"], input=archive, cwd=there, check=True)

    assert (there / "modules" / "overlay.ko").read_bytes() == b"overlay"
    assert (there / "bin" / "busybox").stat().st_mode & 0o777 == 0o755


def test_a_module_is_loaded_behind_what_it_needs(kernel: Kernel) -> None:
    """Insmod knows no dependencies: the order is ours."""
    archive = gzip.decompress(initrd.build(kernel))

    assert b"exportfs.ko\noverlay.ko\n" in archive


def test_a_guest_has_what_programs_expect_of_a_machine(kernel: Kernel) -> None:
    """Without udev nobody else links the standard streams, and a namespace hides what is in /run.

    ``tests/kernel/lab`` read a program from /dev/stdin, and kept files in the guest's scratch
    folder behind a ``/run`` of their own: none of it was found in a guest.
    """
    archive = gzip.decompress(initrd.build(kernel)).decode(errors="replace")

    for line in ("fd /root/dev/fd", "fd/0 /root/dev/stdin", "fd/1 /root/dev/stdout"):
        assert f"ln -s /proc/self/{line}\n" in archive
    assert archive.index("ulimit -n") < archive.index("chroot")
    assert not initrd.SCRATCH.startswith(("/run", "/tmp"))  # noqa: S108  # the guest's


def test_a_job_runs_with_the_projects_code_whatever_its_words_hold() -> None:
    """Arguments reach the guest's command as they were given."""
    script = Job(("echo", "two words", "$HOME")).script()

    assert shlex.split(script.splitlines()[-1]) == ["exec", "echo", "two words", "$HOME"]
    assert f"export PYTHONPATH={PROJECT}" in script
