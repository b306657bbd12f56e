"""Connections that stay open while policies change."""

from __future__ import annotations

import ctypes
import os
import random
import selectors
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.clusters.base import OutsideRef, Place, PodRef, Probe
from harness.clusters.embedded.cluster import EmbeddedCluster

CLONE_NEWNET = 0x40000000
MOST = 80
"""Connections held at once."""
SILENCE = 0.6
"""Seconds without an answer after which a connection counts as cut: two TCP retransmissions."""
PATIENCE = 15.0
"""Seconds in which an allowed connection has to answer."""


class Kept:
    """Sockets inside a cluster's namespaces, by the probe whose connection they are."""

    def __init__(self, cluster: EmbeddedCluster) -> None:
        """Hold nothing yet."""
        self._cluster = cluster
        pid = cluster.folder.facts()["pid"]
        self._namespaces = Path(f"/proc/{pid}/root/run/netns")
        self._sockets: dict[Probe, socket.socket] = {}
        self._token = 0

    def open(self, probes: Sequence[Probe], draw: random.Random) -> None:
        """Open some of the connections that are allowed now."""
        fresh = [one for one in probes if one not in self._sockets]
        room = max(0, MOST - len(self._sockets))
        for probe in draw.sample(fresh, min(room, len(fresh))):
            made = self._connect(probe)
            self._sockets[probe] = made
        dead = self._silent(list(self._sockets), PATIENCE)
        assert not dead, f"allowed and yet silent: {dead}"

    def check(self, allowed: Mapping[Probe, bool]) -> list[str]:
        """Return what is wrong: cut though allowed, or alive though denied."""
        here = list(self._sockets)
        denied = [one for one in here if not allowed[one]]
        silent = set(self._silent(denied, SILENCE))
        late = [f"alive though denied: {one}" for one in denied if one not in silent]
        for one in denied:
            self._close(one)
        good = [one for one in here if allowed[one]]
        return late + [f"cut though allowed: {one}" for one in self._silent(good, PATIENCE)]

    def close(self) -> None:
        """Close everything."""
        for one in list(self._sockets):
            self._close(one)

    def forget(self, place: PodRef) -> None:
        """Close what a pod that goes away is part of."""
        found = self._cluster.objects.get(f"/api/v1/namespaces/{place.namespace}/pods/{place.name}")
        service = self._cluster.objects.get(f"/api/v1/namespaces/{place.namespace}/services/first")
        gone = {one["ip"] for one in found["status"]["podIPs"]} | {*service["spec"]["clusterIPs"]}
        for one in [o for o in self._sockets if o.source == place or o.address in gone]:
            self._close(one)

    def _close(self, probe: Probe) -> None:
        made = self._sockets.pop(probe)
        # Abort: nothing is to be sent again later
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        made.close()

    def _silent(self, probes: Sequence[Probe], patience: float) -> list[Probe]:
        """Send a word on each connection; return those on which it does not come back."""
        self._token += 1
        word = f"<{self._token}>".encode()
        deadline = time.monotonic() + patience
        heard: dict[Probe, bytes] = dict.fromkeys(probes, b"")
        with selectors.DefaultSelector() as selector:
            for one in probes:
                selector.register(self._sockets[one], selectors.EVENT_READ, one)
            waiting, again = set(probes), 0.0
            while waiting and time.monotonic() < deadline:
                if time.monotonic() >= again:
                    first, again = not again, time.monotonic() + SILENCE / 3
                    for one in waiting:
                        if first or one.protocol == "UDP":
                            _send(self._sockets[one], word)
                for key, _ in selector.select(0.05):
                    heard[key.data] += _receive(self._sockets[key.data])
                    if word in heard[key.data]:
                        waiting.discard(key.data)
        return list(waiting)

    def _connect(self, probe: Probe) -> socket.socket:
        made: list[socket.socket] = []

        def enter() -> None:
            kind = socket.SOCK_STREAM if probe.protocol == "TCP" else socket.SOCK_DGRAM
            family = socket.AF_INET6 if ":" in probe.address else socket.AF_INET
            name = self._namespaces / self._cluster.netns(probe.source)
            with name.open() as file:
                _setns(file.fileno())
            made.append(socket.socket(family, kind))

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        (opened,) = made
        _bind(opened, probe.source)
        opened.settimeout(PATIENCE)
        opened.connect((probe.address, probe.port))
        opened.settimeout(0)
        return opened


def _bind(made: socket.socket, source: Place) -> None:
    if isinstance(source, OutsideRef):
        made.bind((source.address, 0))


def _setns(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _send(made: socket.socket, word: bytes) -> None:
    try:
        made.send(word)
    except OSError:
        return


def _receive(made: socket.socket) -> bytes:
    try:
        return made.recv(65536)
    except OSError:
        return b""
