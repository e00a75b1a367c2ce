import io
import json
import logging
import os
import pty
import threading
import warnings

import pytest
import structlog

from gateway import logs

S = 1_000_000_000


def fail(kind, text):
    raise kind(text)


@pytest.fixture
def monotonic():
    class Hand:
        now = 0

    return Hand


@pytest.fixture
def lines(monotonic):
    """Configure and read back what was written; puts the process's logging back afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, {name: logging.getLogger(name).level for name in logs.LIBRARY_LEVELS})
    secrets = dict(logs._secrets)
    stream = io.StringIO()

    def read():
        written = [json.loads(line) for line in stream.getvalue().splitlines()]
        stream.truncate(stream.seek(0))
        return written

    def configure(**settings):
        logs.configure(**{"output": "json", "stream": stream, "monotonic_ns": lambda: monotonic.now, **settings})
        return read

    configure.stream = stream
    yield configure
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(capture=False)
    root.handlers, level = before[0], before[1]
    root.setLevel(level)
    for name, library_level in before[2].items():
        logging.getLogger(name).setLevel(library_level)
    logs._secrets.clear()
    logs._secrets.update(secrets)


def test_one_json_object_per_line(lines):
    read = lines()
    with structlog.contextvars.bound_contextvars(source="asm"):
        structlog.get_logger().warning("link lost", error="a\nb", count=3)
    (line,) = read()
    assert line["time"].endswith("Z")
    assert (line["level"], line["event"], line["source"], line["error"], line["count"]) == (
        "warning",
        "link lost",
        "asm",
        "a\nb",
        3,
    )


def test_the_level_holds(lines):
    read = lines(level="warning")
    structlog.get_logger().info("quiet")
    structlog.get_logger().error("loud")
    assert [line["event"] for line in read()] == ["loud"]


def test_the_same_event_of_the_same_source_once_per_interval(lines, monotonic):
    read = lines(repeat_interval_ns=60 * S)
    log = structlog.get_logger()
    for _ in range(5):
        log.warning("link lost", source="asm", attempt=_)
    log.warning("link lost", source="imm")
    log.error("link lost", source="asm")
    assert [(line["source"], line["level"]) for line in read()] == [
        ("asm", "warning"),
        ("imm", "warning"),
        ("asm", "error"),
    ]
    monotonic.now = 60 * S
    log.warning("link lost", source="asm")
    log.warning("link lost", source="asm")
    (line,) = read()
    assert line["repeated"] == 4
    monotonic.now = 120 * S
    log.warning("link lost", source="asm")
    assert read()[0]["repeated"] == 1


def test_an_interval_of_zero_shows_all(lines):
    read = lines(repeat_interval_ns=0)
    for _ in range(3):
        structlog.get_logger().warning("again")
    assert len(read()) == 3


def test_the_limiter_forgets_the_oldest():
    limiter = logs.RepeatLimiter(S, lambda: 0)
    for number in range(logs.REPEAT_KEYS_MAX + 1):
        assert limiter.held_back((str(number),)) == 0
    assert len(limiter._shown) == logs.REPEAT_KEYS_MAX
    assert limiter.held_back(("0",)) == 0, "the oldest was not forgotten"
    assert limiter.held_back((str(logs.REPEAT_KEYS_MAX),)) is None


def test_secrets_are_masked_wherever_they_stand(lines):
    read = lines()
    logs.register_secret("hunter/2 canary")
    logs.register_secret("abc")
    logs.register_secret("")
    log = structlog.get_logger()
    log.warning(
        "sent hunter/2 canary",
        url="http://x/?t=hunter%2F2%20canary",
        erp_token="anything",
        headers={"Authorization": "Bearer q", "list": ["hunter/2 canary", b"hunter/2 canary"]},
        short="abc",
        word="abcde",
        password=None,
    )
    try:
        fail(ValueError, "hunter/2 canary refused")
    except ValueError:
        log.exception("failed")
    text = lines.stream.getvalue()
    assert "hunter" not in text
    first, second = read()
    assert first["headers"] == {"Authorization": "***", "list": ["***", "b'***'"]}
    assert (first["erp_token"], first["short"], first["word"], first["password"]) == ("***", "***", "abcde", None)
    assert second["exception"][0]["exc_value"] == "*** refused"


def test_exceptions_are_dicts_without_local_variables(lines):
    read = lines()
    canary = "a-local-that-must-not-appear"
    try:
        fail(RuntimeError, len(canary))
    except RuntimeError:
        structlog.get_logger().exception("failed")
    (line,) = read()
    assert line["exception"][0]["exc_type"] == "RuntimeError"
    assert "a-local-that" not in json.dumps(line)


def test_anything_can_be_logged(lines):
    read = lines()
    endless = []
    endless.append(endless)
    structlog.get_logger().warning("odd", a=2**70, b="\ud800", c=object, d=endless, e="x" * 9000, f={1: {2.5}}, g=1.5)
    (line,) = read()
    assert line["a"] == str(2**70)
    assert len(line["e"]) < logs.TEXT_CHARS_MAX + 50
    assert line["f"] == {"1": [2.5]}


def test_secrets_are_bounded(lines, monkeypatch):
    monkeypatch.setattr(logs, "_secrets", {})  # other tests in this process have theirs
    lines()
    for number in range(logs.SECRETS_MAX):
        logs.register_secret(f"secret-{number}")
    logs.register_secret("secret-0")
    with pytest.raises(ValueError, match="100 secrets"):
        logs.register_secret("one more")


def test_libraries_write_the_same_lines_at_their_levels(lines):
    read = lines(level="debug")
    logging.getLogger("asyncua.common").info("chatter")
    logging.getLogger("pymodbus.logging").error("noise")
    logging.getLogger("httpx").info("GET")
    for number in range(3):
        logging.getLogger("asyncua.common").warning("node %s is odd", number)
    logging.getLogger("pymodbus").critical("broken %s", "bus")
    found = read()
    assert [(line["logger"], line["event"], line["level"]) for line in found] == [
        ("asyncua.common", "node 0 is odd", "warning"),
        ("pymodbus", "broken bus", "critical"),
    ]


def test_libraries_are_limited_and_masked_too(lines, monotonic):
    read = lines(repeat_interval_ns=S)
    logs.register_secret("hunter2canary")
    log = logging.getLogger("asyncua")
    for _ in range(3):
        log.warning("token is %s", "hunter2canary")
    monotonic.now = S
    try:
        fail(OSError, "hunter2canary")
    except OSError:
        log.warning("token is %s", "hunter2canary", exc_info=True)
    first, second = read()
    assert first["event"] == "token is ***"
    assert second["repeated"] == 2
    assert second["exception"][0]["exc_value"] == "***"


def test_warnings_of_python_are_lines_too(lines):
    read = lines()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old thing", UserWarning, stacklevel=1)
    assert "old thing" in read()[0]["event"]


def test_a_log_that_cannot_be_written_stops_nobody(lines):
    class Full(io.StringIO):
        def write(self, _text):
            raise OSError(28, "No space left on device")

    lines(stream=Full())
    structlog.get_logger().warning("nobody reads this")
    logging.getLogger("asyncua").warning("nor this")
    closed = io.StringIO()
    lines(stream=closed)
    closed.close()
    structlog.get_logger().warning("closed")


def test_console_on_a_terminal_and_json_elsewhere(lines):
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal:
        lines(output="auto", stream=terminal)
        logs.register_secret("hunter2canary")
        try:
            fail(ValueError, "hunter2canary")
        except ValueError:
            structlog.get_logger().exception("on a terminal", source="asm")
        written = b""
        while b"ValueError: ***" not in written:
            written += os.read(leader, 65536)
    os.close(leader)
    assert b"on a terminal" in written
    assert b"hunter2canary" not in written
    assert b'{"time"' not in written
    read = lines(output="auto")
    structlog.get_logger().warning("in a pipe")
    assert read()[0]["event"] == "in a pipe"


def test_threads_share_the_limit(lines):
    read = lines()
    threads = [threading.Thread(target=lambda: structlog.get_logger().warning("from a thread")) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read()) == 1
