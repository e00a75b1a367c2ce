"""An HTTP server before Tryton that knows its calls, and spoils the next one of a method.

``lost``: carried out, the answer never comes. ``half``: carried out, half of the answer. ``hang``: carried out, and the
connection stays open. ``away``: the connection ends before anything reached Tryton. ``late``: the connection ends, and
Tryton carries it out a while later. A function is called before the call goes on to Tryton. Anything else is a whole
answer (status, headers, body) that Tryton never saw.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import socket
import threading

HANG_S = 60
LATE_S = 0.4


class Relay:
    """``spoil(method, fault)`` spoils the next call of the method (or of one of several), ``calls`` what was asked.

    ``late`` is how many calls Tryton has not answered yet although the client got an end.
    """

    def __init__(self, port):
        self._lock = threading.Lock()
        self._faults = []
        self.calls = []
        self.spoiled = 0
        self.late = 0
        self._end = threading.Event()
        relay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                relay.serve(self, port, body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self):
        """Nobody listens any more; twice is once."""
        if self._end.is_set():
            return
        self._end.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def spoil(self, method, fault, times=1):
        with self._lock:
            self._faults += [((method,) if isinstance(method, str) else tuple(method), fault)] * times

    def serve(self, handler, port, body):
        method = json.loads(body)["method"]
        with self._lock:
            self.calls.append(method)
            found = next((one for one in self._faults if {method, "*"} & set(one[0])), None)
            if found is not None:
                self._faults.remove(found)
                self.spoiled += 1
        fault = found[1] if found is not None else None
        handler.close_connection = True
        if fault == "away":
            return
        if fault == "late":
            self._give_up(handler)
            self._end.wait(LATE_S)
        if callable(fault):
            fault()
        if isinstance(fault, tuple):
            status, headers, answer = fault
        else:
            status, headers, answer = self._asked(handler, port, body)
        if fault == "late":
            with self._lock:
                self.late -= 1
        if fault in ("lost", "late"):
            return
        if fault == "hang":
            self._end.wait(HANG_S)
            return
        with contextlib.suppress(OSError):
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(answer)))
            handler.end_headers()
            handler.wfile.write(answer[: len(answer) // 2] if fault == "half" else answer)

    def _give_up(self, handler):
        with self._lock:
            self.late += 1
        with contextlib.suppress(OSError):
            handler.connection.shutdown(socket.SHUT_RDWR)

    def _asked(self, handler, port, body):
        names = ("Content-Type", "Authorization", "Accept-Encoding")
        headers = {name: handler.headers[name] for name in names if name in handler.headers}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_S)) as link:
            link.request("POST", handler.path, body=body, headers=headers)
            answer = link.getresponse()
            kept = {name: answer.headers[name] for name in ("Content-Type", "Content-Encoding") if answer.headers[name]}
            return answer.status, kept, answer.read()
