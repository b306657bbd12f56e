"""The initial file system of a guest: a shell, the modules to reach the host's files, one script.

The script mounts this machine's files over 9p, read-only, puts a layer in memory over them, and
runs the command that it finds in the folder that host and guest share.
"""

from __future__ import annotations

import gzip
import lzma
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.lab.debian import Kernel

MODULES = ("virtio_pci", "virtio_rng", "9pnet_virtio", "9p", "overlay")
"""What has to be loaded before the root file system is there; the rest comes by modprobe."""

HOST_TAG = "host"
SHARE_TAG = "share"
SHARE = "/run/lab"
"""Where the guest finds the folder that it shares with the host."""

SCRATCH = "/dev/shm/tmp"  # noqa: S108  # the guest is its own
"""A folder in the guest's memory for what is short-lived.

Not ``/tmp``, which is the host's with a layer over it: this project may lie there. Nor in ``/run``:
who makes a network namespace of his own has another one there.
"""

OPEN_FILES = 1048576
"""Of one process, as service managers allow: the kernel's own 1,024 are too few for a flood of new
clients."""

STREAMS = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}
"""What programs expect in ``/dev`` beside what the kernel puts there, below ``/proc/self/fd``."""

COMMAND = "command"
"""The script in that folder which the guest runs, as root."""

STATUS = "status"
"""The file in that folder which holds the script's exit code once it has ended."""

_LINKS = "\n".join(
    f"busybox ln -s /proc/self/fd{end} /root/dev/{name}" for name, end in STREAMS.items()
)
_INIT = f"""#!/bin/busybox sh
busybox mkdir -p /proc /sys /dev /host /memory /root
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
while read -r module; do busybox insmod "/modules/$module"; done </modules/order
busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=262144 {HOST_TAG} /host
busybox mount -t tmpfs -o size=50% memory /memory
busybox mkdir /memory/upper /memory/work
busybox mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work root /root
busybox mount -t proc proc /root/proc
busybox mount -t sysfs sys /root/sys
busybox mount -t devtmpfs dev /root/dev
busybox mkdir -p /root/dev/pts /root/dev/shm
busybox mount -t devpts devpts /root/dev/pts
{_LINKS}
for place in /dev/shm /run; do busybox mount -t tmpfs tmpfs "/root$place"; done
busybox mkdir -m 1777 /root{SCRATCH}
busybox mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
busybox ip link set lo up
busybox hostname lab
version=$(busybox uname -r)
busybox mkdir -p /root/lib/modules
busybox ln -sfn "$(busybox cat /modules/folder)" "/root/lib/modules/$version"
busybox mkdir -p /root{SHARE}
busybox mount -t 9p -o trans=virtio,version=9p2000.L,cache=none,msize=262144 {SHARE_TAG} \\
    /root{SHARE}
ulimit -n {OPEN_FILES}
cd /root
busybox mount --move /root /
busybox chroot . /bin/sh {SHARE}/{COMMAND} </dev/null
echo $? >.{SHARE}/{STATUS}
busybox sync
busybox umount .{SHARE}
busybox poweroff -f
"""
# The new root is the root of its mount namespace, too: who enters another one, as a cluster does
# for each node, stands at that root afterwards, wherever chroot(2) had put him.

_MODPROBE = """#!/bin/busybox sh
exec busybox chroot /proc/1/cwd /sbin/modprobe "$@"
"""
# The kernel looks for modprobe below its first root, which is not the guest's.


def build(kernel: Kernel) -> bytes:
    """Return the archive to boot ``kernel`` with."""
    order = tuple(_in_order(kernel))
    files = {
        "init": _INIT.encode(),
        "bin/busybox": kernel.shell.read_bytes(),
        "sbin/modprobe": _MODPROBE.encode(),
        "modules/folder": f"{kernel.modules}\n".encode(),
        "modules/order": "".join(f"{_plain_name(path)}\n" for path in order).encode(),
    }
    files |= {f"modules/{_plain_name(path)}": _unpacked(path) for path in order}
    return gzip.compress(_archive(files), compresslevel=1, mtime=0)


def _in_order(kernel: Kernel) -> Iterator[Path]:
    """Yield the files of the modules, each behind those that it needs."""
    needs = {
        Path(name).name.partition(".")[0].replace("-", "_"): (name, rest.split())
        for name, _, rest in (
            line.partition(":")
            for line in (kernel.modules / "modules.dep").read_text().splitlines()
        )
    }
    names = [name for module in MODULES if module in needs for name in _with_needs(needs[module])]
    return (kernel.modules / name for name in dict.fromkeys(names))


def _with_needs(entry: tuple[str, list[str]]) -> list[str]:
    """Return a module's files in order: depmod lists what it needs nearest first."""
    name, needed = entry
    return [*reversed(needed), name]


def _plain_name(path: Path) -> str:
    return path.name.removesuffix(".xz")


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _archive(files: dict[str, bytes]) -> bytes:
    """Return files as the kernel takes them: a cpio archive of the "newc" kind.

    Format: https://docs.kernel.org/driver-api/early-userspace/buffer-format.html
    """
    folders = sorted({str(parent) for name in files for parent in Path(name).parents} - {"."})
    entries = [
        *((name, stat.S_IFDIR | 0o755, b"") for name in folders),
        *((name, stat.S_IFREG | 0o755, data) for name, data in files.items()),
        ("TRAILER!!!", 0, b""),
    ]
    return b"".join(_entries(entries))


def _entries(entries: Iterable[tuple[str, int, bytes]]) -> Iterator[bytes]:
    for number, (name, mode, data) in enumerate(entries, start=1):
        encoded = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        yield _padded(header + encoded)
        yield _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
