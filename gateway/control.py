"""The local control socket: one JSON line asks, one JSON line answers. Owner only; nothing leaves the box here.

The command line speaks to the running daemon through it (``linegate status``, ``linegate order``, ``linegate outbox
retry`` ...), with or without the HTTP API, whose verbs are the same. It decides nothing: every verb is a function given
by the composition root. What only the daemon needs is imported where it is used: each word of the command line starts
with this module, and has 0.1 s for it on a small box.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from buffer.errors import StoreError
from gateway.core.foreign_text import is_clean

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    Verb = Callable[[Mapping[str, Any]], Awaitable[Any]]

REQUEST_BYTES_MAX: Final = 64 * 1024
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
REQUEST_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 30.0
CONNECTIONS_MAX: Final = 16
#: Connections that were not yet taken; the kernel lets the others wait before they are connected.
WAITING_MAX: Final = 100
SOCKET_PATH_BYTES_MAX: Final = 107  # of the kernel
SOCKET_NAME: Final = "control.sock"
TEXT_CHARS_MAX: Final = 300
#: In the environment of the one who asks: a token of a user of the gateway, in whose name he asks.
TOKEN_VARIABLE: Final = "LINEGATE_TOKEN"  # noqa: S105 - the name of a variable, not a token
#: What is said of the one who speaks, by whoever has recognised him; never by himself.
SPEAKER: Final = frozenset({"role", "auth", "client", "credential", "full_name", "expires_ns"})
#: What to do where a refusal names nothing better.
ASK_OTHERWISE: Final = "ask for what is allowed; nothing was changed"
#: SQLite's integers, and with them the numbers of postings, end here.
NUMBER_MAX: Final = 2**63 - 1


class ControlError(Exception):
    """The daemon cannot be asked, or it refused; says why and what to do. ``parts``: those of a ``RequestError``."""

    parts: Mapping[str, str] = MappingProxyType({})


class NotRunningError(ControlError):
    """No daemon listens in this state directory."""


class RequestError(Exception):
    """A request that is refused; the message is the answer, and says all of it.

    The parts are for programs: ``guard`` is what is in the way and never missing, then what was found, what is allowed,
    and what to do.
    """

    def __init__(self, text: str, *, guard: str, found: str = "", allowed: str = "", what_to_do: str = "") -> None:
        super().__init__(text)
        self.guard, self.found, self.allowed = guard, found, allowed
        self.what_to_do = what_to_do or ASK_OTHERWISE

    def parts(self) -> dict[str, str]:
        """What is known of it, by name."""
        known = {"guard": self.guard, "found": self.found, "allowed": self.allowed, "what_to_do": self.what_to_do}
        return {name: text for name, text in known.items() if text}


def text_of(request: Mapping[str, Any], name: str) -> str:
    """A text of a request that may reach the journal, the log and other people's terminals. Raises RequestError."""
    text = request[name]
    if not isinstance(text, str) or not text.strip() or len(text) > TEXT_CHARS_MAX or not is_clean(text):
        shown = f"{str(text)[:TEXT_CHARS_MAX]!a}"
        allowed = f"a text of 1 to {TEXT_CHARS_MAX} characters in one line, without control characters"
        why = f"{name}: found {shown}, allowed: {allowed}"
        raise RequestError(why, guard="FIELD", found=shown, allowed=allowed, what_to_do=f"send another {name}")
    return text


class ControlServer:
    """Listens in the state directory for the life of the daemon."""

    def __init__(self, path: Path, verbs: Mapping[str, Verb]) -> None:
        self._path = path
        self._verbs = verbs
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self) -> None:
        """Listen. Raises ControlError where the path is too long for a socket."""
        if len(os.fsencode(self._path)) > SOCKET_PATH_BYTES_MAX:
            raise ControlError(
                f"{self._path}: a socket path has at most {SOCKET_PATH_BYTES_MAX} bytes; shorten gateway.state_dir"
            )
        import asyncio

        from gateway.accepting import AT_ONCE, let_wait

        # The state directory is locked by us: a socket found here is a leftover of a killed daemon.
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            why = f"is in the way of the control socket ({error.strerror}); remove it"
            raise ControlError(f"{self._path}: {why}") from error
        old = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(
                self._serve, self._path, limit=REQUEST_BYTES_MAX, backlog=AT_ONCE
            )
            let_wait(self._server, WAITING_MAX)
        except OSError as error:
            why = f"cannot become the control socket: {error}; check its folder and the free space"
            raise ControlError(f"{self._path}: {why}") from error
        finally:
            os.umask(old)

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(OSError):  # what was put there meanwhile is not ours to remove
                self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import asyncio

        self._open += 1
        try:
            if self._open > CONNECTIONS_MAX or not _same_user(writer):
                return
            answer = await self._answer(reader, writer)
            writer.write(json.dumps(answer).encode() + b"\n")
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await writer.drain()
        except (OSError, TimeoutError):
            pass  # the one who asked has gone
        finally:
            self._open -= 1
            writer.close()

    def _verb(self, request: Mapping[str, Any]) -> Verb:
        name = str(request["verb"])
        if name not in self._verbs:
            allowed = ", ".join(sorted(self._verbs))
            raise RequestError(f"unknown verb {name!r}; allowed: {allowed}", guard="VERB", found=name, allowed=allowed)
        return self._verbs[name]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, Any]:
        import asyncio

        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                line = await reader.readline()
            # Who speaks here is known by the socket; what he says of himself besides his name is not looked at.
            said = json.loads(line)
            request = {**{name: said[name] for name in said if name not in SPEAKER}, **_speaker(writer)}
            verb = self._verb(request)
        except RequestError as error:
            return _refused(str(error), **error.parts())
        except (ValueError, TypeError, KeyError, RecursionError, TimeoutError) as error:
            return _refused(f"the request cannot be read: {error!r}", guard="REQUEST", what_to_do=ASK_OTHERWISE)
        try:
            return {"ok": True, "result": await verb(request)}
        except RequestError as error:
            return _refused(str(error), **error.parts())
        except StoreError as error:
            return _refused(f"the buffer: {error}", guard="STORE", what_to_do="see linegate status; come again")
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            return _refused(f"the request cannot be read: {error!r}", guard="REQUEST", what_to_do=ASK_OTHERWISE)
        except Exception as error:  # noqa: BLE001 - it is logged; a defect at one question is told to the one who asked, and ends nothing
            import structlog

            structlog.get_logger(__name__).exception("control request failed", verb=str(request["verb"]))
            text = f"the gateway failed at it: {error!r}; see its log and report it"
            return _refused(text, guard="FAILED", what_to_do="see the gateway's log and report it")


def _refused(text: str, **parts: str) -> dict[str, Any]:
    return {"ok": False, "error": text, **parts}


def _speaker(writer: asyncio.StreamWriter) -> dict[str, str]:
    return {"auth": f"shell uid {_uid(writer)}", "client": "control socket"}


def call(state_dir: Path, verb: str, **arguments: Any) -> Any:
    """Ask the daemon that runs in ``state_dir``, in the name of the user whose token is in ``LINEGATE_TOKEN``, if any.

    Raises NotRunningError where none does, ControlError where it refuses or does not answer.
    """
    path = state_dir / SOCKET_NAME
    if token := os.environ.get(TOKEN_VARIABLE):
        arguments["token"] = token
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(ANSWER_TIMEOUT_S)
            link.connect(os.fspath(path))
            link.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            answer = _read_line(link)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NotRunningError(f"no linegate daemon runs in {state_dir} (start it with: linegate run FILE)") from error
    except PermissionError as error:
        raise ControlError(f"{path}: not allowed; ask as the user that runs the daemon") from error
    except OSError as error:
        raise ControlError(f"{path}: the daemon does not answer ({error})") from error
    if not answer.get("ok"):
        refused = ControlError(str(answer.get("error", "refused without a reason")))
        refused.parts = {name: str(text) for name, text in answer.items() if name not in {"ok", "error"}}
        raise refused
    return answer["result"]


def _read_line(link: socket.socket) -> dict[str, Any]:
    received = bytearray()
    while not received.endswith(b"\n"):
        more = link.recv(65536)
        if not more:
            raise ConnectionError("the daemon closed the connection")
        received += more
        if len(received) > ANSWER_BYTES_MAX:
            raise ConnectionError(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
    answer: dict[str, Any] = json.loads(received)
    return answer


def _same_user(writer: asyncio.StreamWriter) -> bool:
    """Root and the daemon's own user may ask; the file mode says the same, this holds where modes are ignored."""
    uid = _uid(writer)
    if uid in (0, os.geteuid()):
        return True
    import structlog

    structlog.get_logger(__name__).warning("control request refused", uid=uid, allowed=[0, os.geteuid()])
    return False


def _uid(writer: asyncio.StreamWriter) -> int:
    link = writer.get_extra_info("socket")
    _pid, uid, _gid = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)
