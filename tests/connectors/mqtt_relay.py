"""Between a client and a broker: it reads packets, and drops, cuts or answers them itself as a test says."""

from __future__ import annotations

import contextlib
import socket
import threading

PUBLISH, PUBACK = 3, 4
CONFIRMATIONS = b"mes/confirmations/"


class Relay:
    """A thread for each direction. ``faults`` are taken by PUBLISH packets of confirmations, one each.

    ``cut``: the connection ends, the broker never gets it. ``lose``: the broker gets it, its answer is lost with the
    connection. ``half``: of its answer half gets through. ``silent``: its answer is swallowed, the connection stays.
    ``html``: something else answers. ``0x87``, ``0x97`` ...: the broker's answer is this, and it has not taken it.
    """

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self.faults: list[str] = []
        self.forwarded = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def cut(self) -> None:
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _spawn(self, function, *values) -> None:
        thread = threading.Thread(target=function, args=values)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(("127.0.0.1", self._broker_port), timeout=60)
            except OSError:
                client.close()
                continue
            broker.settimeout(None)
            spoiled: dict[int, str] = {}
            with self._lock:
                self._open |= {client, broker}
            ends = threading.Semaphore(0)
            self._spawn(self._forward, client, broker, spoiled, True, ends)
            self._spawn(self._forward, broker, client, spoiled, False, ends)
            self._spawn(self._finish, client, broker, ends)

    def _finish(self, client, broker, ends) -> None:
        ends.acquire()
        for one in (client, broker):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        ends.acquire()
        with self._lock:
            self._open -= {client, broker}
        client.close()
        broker.close()

    def _forward(self, source, target, spoiled, outwards, ends) -> None:
        try:
            stream = source.makefile("rb")
            while packet := _packet(stream):
                handle = self._outwards if outwards else self._inwards
                if not handle(packet, source, target, spoiled):
                    break
        except OSError:
            pass
        finally:
            ends.release()

    def _outwards(self, packet, source, target, spoiled) -> bool:
        head, _, content = packet
        if head >> 4 == PUBLISH and head & 6 and content[2:].startswith(CONFIRMATIONS):
            fault = self.faults.pop(0) if self.faults else ""
            length = int.from_bytes(content[:2], "big")
            number = content[2 + length : 4 + length]
            if fault == "cut":
                return False
            if fault == "html":
                source.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>Sign in</html>" + b" " * 99)
                return True
            if fault.startswith("0x"):
                source.sendall(bytes([PUBACK << 4, 4]) + number + bytes([int(fault, 16), 0]))
                return True
            self.forwarded += 1
            if fault:
                spoiled[int.from_bytes(number, "big")] = fault
        target.sendall(b"".join([bytes([head]), packet[1], content]))
        return True

    def _inwards(self, packet, _source, target, spoiled) -> bool:
        head, length, content = packet
        whole = bytes([head]) + length + content
        if head >> 4 == PUBACK:
            fault = spoiled.pop(int.from_bytes(content[:2], "big"), "")
            if fault == "lose":
                return False
            if fault == "half":
                target.sendall(whole[: len(whole) // 2])
                return False
            if fault == "silent":
                return True
        target.sendall(whole)
        return True


def _packet(stream):
    head = stream.read(1)
    if not head:
        return None
    length, shift, written = 0, 0, b""
    while True:
        one = stream.read(1)
        if not one:
            return None
        written += one
        length |= (one[0] & 127) << shift
        shift += 7
        if not one[0] & 128:
            break
    content = stream.read(length)
    return (head[0], written, content) if len(content) == length else None
