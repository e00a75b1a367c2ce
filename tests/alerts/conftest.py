"""A server that behaves like the robots of DingTalk and WeCom and like a program of one's own, on this computer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time
import urllib.parse
from typing import NamedTuple

import pytest

DEADLINE_S = 60.0
ACCESS_TOKEN = "f7c3aaaa0000bbbb1111"
ROBOT_SECRET = "SEC0123456789abcdef"
WECOM_KEY = "693axxx6-7aoc-4bc4-97a0-0ec2sifa5aaa"
HOOK_PATH = "/hooks/T0001/very-secret-path"
HOOK_SECRET = "our own secret, with ümlauts"
HOOK_TOKEN = "bearer-token-of-the-hook"
HOUR_MS = 3_600_000


class Got(NamedTuple):
    """A message that was taken."""

    kind: str
    document: dict
    size: int  # bytes of its text

    @property
    def text(self):
        if self.kind == "webhook":
            return self.document.get("text", "")
        below = self.document[self.document["msgtype"]]
        return below.get("content", below.get("text"))


class Robots:
    """Counts what it takes; ``broken`` is a list of what happens to the next requests instead."""

    def __init__(self):
        self.taken = []
        self.asked = 0
        self.broken = []
        self.always = None
        self.limit = 20
        self.utc_ns = time.time_ns
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                owner.asked += 1
                status, headers, answer = owner.answer(self.path, self.headers, body)
                if status is None:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        self.origin = f"http://127.0.0.1:{self.server.server_port}"

    def url(self, kind):
        return (
            self.origin
            + {
                "dingtalk": f"/robot/send?access_token={ACCESS_TOKEN}",
                "wecom": f"/cgi-bin/webhook/send?key={WECOM_KEY}",
                "webhook": HOOK_PATH,
            }[kind]
        )

    def of(self, kind):
        return [one for one in self.taken if one.kind == kind]

    def answer(self, path, headers, body):
        fault = self.broken.pop(0) if self.broken else self.always
        if fault == "no answer":
            return None, {}, b""
        if isinstance(fault, tuple):
            return fault
        parts = urllib.parse.urlsplit(path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        document = json.loads(body)
        if parts.path == "/robot/send":
            return self.said(*self.dingtalk(query, document))
        if parts.path == "/cgi-bin/webhook/send":
            return self.said(*self.wecom(query, document))
        if parts.path == HOOK_PATH:
            return self.webhook(headers, body, document)
        return 404, {}, b"{}"

    @staticmethod
    def said(code, words):
        return 200, {}, json.dumps({"errcode": code, "errmsg": words}).encode()

    def dingtalk(self, query, document):
        if query.get("access_token") != ACCESS_TOKEN:
            return 300001, f"token is not exist: {query.get('access_token')}"
        stamp = query.get("timestamp", "")
        wanted = hmac.new(ROBOT_SECRET.encode(), f"{stamp}\n{ROBOT_SECRET}".encode(), hashlib.sha256).digest()
        if base64.b64encode(wanted).decode() != query.get("sign"):
            return 310000, "sign not match"
        if abs(int(stamp) - self.utc_ns() // 1_000_000) > HOUR_MS:
            return 310000, "invalid timestamp"
        if len(self.of("dingtalk")) >= self.limit:
            return 130101, "send too fast, exceed 20 times per minute"
        if document["msgtype"] not in {"text", "markdown"} or "linegate" not in str(document):
            return 310000, "keywords not in content"
        return self.take("dingtalk", document, 20_000)

    def wecom(self, query, document):
        if query != {"key": WECOM_KEY}:
            return 93000, "invalid webhook url"
        if len(self.of("wecom")) >= self.limit:
            return 45009, "api freq out of limit"
        return self.take("wecom", document, {"text": 2048, "markdown": 4096}[document["msgtype"]])

    def take(self, kind, document, most):
        got = Got(kind, document, 0)
        got = got._replace(size=len(got.text.encode()))
        if got.size > most:
            return 40058, f"content size exceed {most}"
        self.taken.append(got)
        return 0, "ok"

    def webhook(self, headers, body, document):
        signed = hmac.new(
            HOOK_SECRET.encode(), f"{headers['X-Linegate-Timestamp']}.".encode() + body, hashlib.sha256
        ).hexdigest()
        if headers["Authorization"] != f"Bearer {HOOK_TOKEN}":
            return 401, {}, b"{}"
        if headers["X-Linegate-Signature"] != f"sha256={signed}":
            return 403, {}, b"{}"
        self.taken.append(Got("webhook", document, len(body)))
        return 204, {}, b""

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def robots():
    server = Robots()
    yield server
    server.close()


SECTION = """
alerts:
  every: 1 min
  link_down_after: 5 min
  channels:
    room: { kind: dingtalk, url: { file: dingtalk.url }, secret: { file: dingtalk.secret } }
    office: { kind: wecom, url: { file: wecom.url } }
    program: { kind: webhook, url: { file: hook.url }, secret: { file: hook.secret }, token: { file: hook.token } }
"""


@pytest.fixture
def write_secrets(robots):
    """A function: the files that ``section`` names."""

    def write(folder):
        texts = {
            "dingtalk.url": robots.url("dingtalk"),
            "dingtalk.secret": ROBOT_SECRET,
            "wecom.url": robots.url("wecom"),
            "hook.url": robots.url("webhook"),
            "hook.secret": HOOK_SECRET,
            "hook.token": HOOK_TOKEN,
        }
        for name, text in texts.items():
            path = folder / name
            path.write_text(text + "\n")
            path.chmod(0o600)
        return texts

    return write


@pytest.fixture
def section():
    return SECTION


@pytest.fixture
def secret_texts():
    """What may stand nowhere."""
    return (ACCESS_TOKEN, ROBOT_SECRET, WECOM_KEY, HOOK_PATH, HOOK_SECRET, HOOK_TOKEN)
