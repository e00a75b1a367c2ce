"""How the gateway writes its log: set-up of structlog and of the libraries' loggers. Decides nothing, stores nothing.

JSON lines where a machine reads (journald, a pipe, a file), coloured text on a terminal. Two guards stand before every
line: the same event of the same source or target appears once per interval, then with ``repeated``; and known secrets
and values of keys that hold secrets are masked.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO
from urllib.parse import quote

import orjson
import structlog

from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from structlog.typing import EventDict, Processor, WrappedLogger

Level = Literal["debug", "info", "warning", "error", "critical"]
Output = Literal["auto", "json", "console"]

REPEAT_INTERVAL_NS: Final = 60 * NS_PER_S
REPEAT_KEYS_MAX: Final = 1000
SECRETS_MAX: Final = 100
SECRET_SEARCHED_CHARS_MIN: Final = 4
TEXT_CHARS_MAX: Final = 4000
NESTING_MAX: Final = 12
TRACE_FRAMES_MAX: Final = 30
INT64_MAX: Final = 2**63 - 1
MASK: Final = "***"
SECRET_KEYS: Final = ("token", "password", "passwd", "secret", "authorization")
#: Which of the fields tell two lines of the same event apart.
PLACE_KEYS: Final = ("source", "target", "work_unit", "part", "signal", "code", "order", "operation", "state", "seq")
LIBRARY_LEVELS: Final = {
    "aiosqlite": logging.WARNING,
    "amqtt": logging.WARNING,
    "asyncio": logging.WARNING,
    "asyncua": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "paho": logging.WARNING,
    "pymodbus": logging.CRITICAL,
    "transitions": logging.WARNING,
    "uvicorn": logging.WARNING,
}

#: Each with its URL-quoted form.
_secrets: dict[str, str] = {}


def register_secret(text: str) -> None:
    """Mask this text in every line from now on, also in its URL-quoted form; "" is ignored.

    Texts under 4 characters are masked only where a value is exactly that text. Raises ValueError beyond 100 secrets.
    """
    if not text:
        return
    if len(_secrets) >= SECRETS_MAX and text not in _secrets:
        raise ValueError(f"{SECRETS_MAX} secrets are registered already, which is the limit")
    _secrets[text] = quote(text, safe="")


def configure(
    *,
    level: Level = "info",
    output: Output = "auto",
    repeat_interval_ns: int = REPEAT_INTERVAL_NS,
    stream: TextIO | None = None,
    monotonic_ns: Callable[[], int] = time.monotonic_ns,
) -> None:
    """Set up logging for the whole process; may be called again.

    ``repeat_interval_ns`` 0 shows every repetition. ``stream`` is standard error by default. ``auto`` is ``console`` on
    a terminal and ``json`` everywhere else (journald sets JOURNAL_STREAM and is no terminal).
    """
    sink = _Sink(stream or sys.stderr)
    limiter = RepeatLimiter(repeat_interval_ns, monotonic_ns)
    rendered = _rendering(console=output == "console" or (output == "auto" and sink.is_terminal()))
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            limiter,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            *rendered,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sink),  # type: ignore[arg-type]  # it needs write and flush only
        cache_logger_on_first_use=False,  # lines are rare, and a second configure() must reach every module's logger
    )
    _bridge_libraries(sink, limiter, rendered, threshold)


class RepeatLimiter:
    """Shows the same event of the same place once per interval; afterwards once with the number it held back.

    At most 1000 events are remembered, the oldest is forgotten first, and with it the number it held back. Loggers of
    any thread may use it.
    """

    def __init__(self, interval_ns: int, monotonic_ns: Callable[[], int]) -> None:
        self._interval_ns = interval_ns
        self._monotonic_ns = monotonic_ns
        self._shown: OrderedDict[tuple[str, ...], tuple[int, int]] = OrderedDict()
        self._lock = threading.Lock()

    def held_back(self, key: tuple[str, ...]) -> int | None:
        """None: do not show this one. Otherwise how many were held back since the last that was shown."""
        if self._interval_ns <= 0:
            return 0
        now = self._monotonic_ns()
        with self._lock:
            last_ns, held = self._shown.get(key, (None, 0))
            if last_ns is not None and now - last_ns < self._interval_ns:
                self._shown[key] = (last_ns, held + 1)
                return None
            self._shown[key] = (now, 0)
            self._shown.move_to_end(key)
            if len(self._shown) > REPEAT_KEYS_MAX:
                self._shown.popitem(last=False)
            return held

    def __call__(self, _logger: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
        """As a structlog processor. Raises structlog.DropEvent for a line that is not shown."""
        places = (str(event_dict.get(key, "")) for key in PLACE_KEYS)
        held = self.held_back((method, str(event_dict.get("event", "")), *places))
        if held is None:
            raise structlog.DropEvent
        if held:
            event_dict["repeated"] = held
        return event_dict


class _LibraryFilter(logging.Filter):
    """The repeat limit for records of libraries, keyed by the message before its arguments are filled in."""

    def __init__(self, limiter: RepeatLimiter) -> None:
        super().__init__()
        self._limiter = limiter

    def filter(self, record: logging.LogRecord) -> bool:
        held = self._limiter.held_back((record.name, record.levelname, str(record.msg)[:TEXT_CHARS_MAX]))
        if held:
            record.repeated = held
        return held is not None


class _Sink:
    """A text stream that may go away or fill up: a log that cannot be written must not stop the gateway."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # ValueError: the stream was closed
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def is_terminal(self) -> bool:
        return self._stream.isatty()


def redact(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Mask secrets, cut long texts and leave only what JSON can say; as a structlog processor."""
    return {str(key): _clean(value, str(key), 0) for key, value in event_dict.items()}


def _clean(value: Any, key: str, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if any(word in key.lower() for word in SECRET_KEYS):
        return MASK
    if isinstance(value, int):
        return value if -INT64_MAX <= value <= INT64_MAX else str(value)
    if isinstance(value, float):
        return value
    if depth < NESTING_MAX:
        if isinstance(value, dict):
            return {str(inner): _clean(item, str(inner), depth + 1) for inner, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [_clean(item, "", depth + 1) for item in value]
    return _masked(value if isinstance(value, str) else repr(value) if isinstance(value, bytes) else str(value))


def _masked(text: str) -> str:
    for secret, quoted in sorted(_secrets.items(), key=_length, reverse=True):  # one may be part of another
        if len(secret) >= SECRET_SEARCHED_CHARS_MIN:
            text = text.replace(secret, MASK).replace(quoted, MASK)
        elif text == secret:
            return MASK
    if len(text) > TEXT_CHARS_MAX:
        text = f"{text[:TEXT_CHARS_MAX]} ... ({len(text)} characters)"
    return text.encode("utf-8", "replace").decode()


def _length(item: tuple[str, str]) -> int:
    return len(item[0])


def _render_json(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> str:
    first = {key: event_dict.pop(key) for key in ("time", "level", "event") if key in event_dict}
    return orjson.dumps({**first, **event_dict}).decode()


def _rendering(*, console: bool) -> list[Processor]:
    if console:
        return [
            structlog.processors.format_exc_info,  # before the mask: a trace may quote a secret
            redact,
            structlog.dev.ConsoleRenderer(
                colors=True, timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    # Without local variables: they are where tokens live.
    trace = structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=TRACE_FRAMES_MAX)
    return [structlog.processors.ExceptionRenderer(trace), redact, _render_json]


def _bridge_libraries(sink: _Sink, limiter: RepeatLimiter, rendered: list[Processor], threshold: int) -> None:
    handler = logging.StreamHandler(sink)
    handler.addFilter(_LibraryFilter(limiter))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
                _library_facts,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(threshold, logging.WARNING))
    for name, level in LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(max(threshold, level))
    logging.captureWarnings(capture=True)


def _library_facts(
    _logger: WrappedLogger, _method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    record: logging.LogRecord = event_dict["_record"]
    event_dict["logger"] = record.name
    if repeated := getattr(record, "repeated", 0):
        event_dict["repeated"] = repeated
    return event_dict
