"""A wire tap between a client and its device: passes bytes on and shows them, with the time, to an observer.

Both candidates are read through it, and the subscriber runs in the same process: the time from an answer on the wire to
its arrival at the subscriber is taken with one clock and needs no stamp of either candidate.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

HEADER = struct.Struct(">HHH")  # Modbus TCP: transaction, protocol, length of the rest
READ_HOLDING = 3
RECEIVE_BYTES = 262_144


class Tap:
    """Listens on ``port`` and forwards to the device.

    ``observe`` is called for each connection and gives two functions, for requests and for answers; each is called with
    the bytes and the CLOCK_MONOTONIC nanosecond before they are passed on.
    """

    def __init__(self, host: str, device_port: int, observe) -> None:
        self._device = (host, device_port)
        self._observe = observe
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="tap", daemon=True).start()

    def close(self) -> None:
        """Stop listening and drop every connection."""
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            device = socket.create_connection(self._device)
            self._sockets += [client, device]
            for one in (client, device):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            on_request, on_answer = self._observe()
            for way in ((client, device, on_request), (device, client, on_answer)):
                threading.Thread(target=_pass_on, args=way, name="tap", daemon=True).start()


class ModbusScans:
    """When the end of each scan went by: ``seen`` maps the word in its last register to nanoseconds.

    That word has to change with every scan.
    """

    def __init__(self, last_register: int) -> None:
        self._last_register = last_register
        self.seen: dict[int, int] = {}

    def observe(self):
        """The two observers of a new connection."""
        ends: dict[int, int] = {}  # transaction -> last register it asks for
        kept = {"request": b"", "answer": b""}

        def frames(way: str, data: bytes):
            data = kept[way] + data
            while len(data) >= HEADER.size and len(data) >= (size := HEADER.size + HEADER.unpack_from(data)[2]):
                yield data[:size]
                data = data[size:]
            kept[way] = data

        def on_request(data: bytes, _at_ns: int) -> None:
            for frame in frames("request", data):
                if frame[7] == READ_HOLDING:
                    address, count = struct.unpack_from(">HH", frame, 8)
                    ends[HEADER.unpack_from(frame)[0]] = address + count - 1

        def on_answer(data: bytes, at_ns: int) -> None:
            for frame in frames("answer", data):
                if ends.pop(HEADER.unpack_from(frame)[0], None) == self._last_register and frame[7] == READ_HOLDING:
                    self.seen[int.from_bytes(frame[-2:], "big")] = at_ns

        return on_request, on_answer


class LargeAnswers:
    """When answers of at least ``least_bytes`` went by: ``seen_ns``, in order."""

    def __init__(self, least_bytes: int) -> None:
        self._least_bytes = least_bytes
        self.seen_ns: list[int] = []

    def observe(self):
        """The two observers of a new connection."""

        def on_answer(data: bytes, at_ns: int) -> None:
            if len(data) >= self._least_bytes:
                self.seen_ns.append(at_ns)

        return (lambda _data, _at_ns: None), on_answer


def _pass_on(source: socket.socket, target: socket.socket, look) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(RECEIVE_BYTES):
            look(data, time.monotonic_ns())
            target.sendall(data)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
