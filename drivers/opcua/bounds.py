"""What the library does not check of a server's answers: sizes, lengths, and which question they belong to.

A server that announces 4 GiB, never ends a message, or puts two billion elements of no byte each into a value would
otherwise take the memory and the time of the whole gateway; an answer to another question would be read as if it were
the right one. Knows no signals.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua
from asyncua.client import ua_client, ua_session
from asyncua.client.ua_client import UASocketProtocol
from asyncua.common.utils import Buffer
from asyncua.ua import ua_binary
from asyncua.ua.uaerrors import UaError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

#: Bytes of one chunk. We offer to take 64 KiB; a server that sends somewhat more is still understood.
CHUNK_MAX: Final = 1_048_576
#: Bytes of a message in several chunks: 500 values of one request, 32 KiB each.
MESSAGE_MAX: Final = 16 * 1_048_576
#: Where the length of a chunk stands.
_LENGTH: Final = slice(4, 8)
_LENGTH_BYTES: Final = 4
#: Of an answer's header: what stands between its type and the number of its question, in bytes.
_TIMESTAMP_BYTES: Final = 8


class BoundedSocket(UASocketProtocol):
    """The library's connection; it ends when a chunk or a message gets too long, or answers another question."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._handles: dict[int, int] = {}  # request to the handle in its header

    def data_received(self, data: bytes) -> None:
        """Take what came; what is too long ends the connection."""
        super().data_received(data)
        announced = int.from_bytes((self.receive_buffer or b"")[_LENGTH], "little")
        if announced > CHUNK_MAX:
            self._refuse(f"a chunk of {announced} bytes, allowed {CHUNK_MAX}")
        elif self._connection._incoming_size > MESSAGE_MAX:  # noqa: SLF001 - nothing public says it
            self._refuse(f"a message of more than {MESSAGE_MAX} bytes")

    async def open_secure_channel(self, params: ua.OpenSecureChannelParameters) -> ua.OpenSecureChannelResult:
        """Open the channel; what is no answer to that raises UaError, where the library has an assertion."""
        try:
            return await super().open_secure_channel(params)
        except AssertionError as error:
            raise UaError("the server answered with something else where OpenSecureChannelResponse was due") from error

    def _send_request(
        self,
        request: Any,
        timeout: float = 1,
        message_type: ua.MessageType = ua.MessageType.SecureMessage,  # type: ignore[assignment]  # as the library has it
    ) -> asyncio.Future[Any]:
        future = super()._send_request(request, timeout, message_type)
        self._handles[self._request_id] = request.RequestHeader.RequestHandle
        return future

    def _call_callback(self, request_id: int, body: Buffer | ua.Acknowledge) -> None:
        wanted = self._handles.pop(request_id, 0)
        if isinstance(body, Buffer):
            header = body.copy()
            ua_binary.nodeid_from_binary(header)
            header.skip(_TIMESTAMP_BYTES)
            found = ua_binary.Primitives.UInt32.unpack(header)
            if found not in (0, wanted):  # some servers leave it out
                self._refuse(f"the answer to request {found} as that to request {wanted}")
                return
        super()._call_callback(request_id, body)

    def _refuse(self, what: str) -> None:
        self.receive_buffer = None
        self._connection._drop_incoming_parts()  # noqa: SLF001 - nothing public does it
        self._fail_all_pending(UaError(f"the server sends {what}"))
        if self.transport is not None:
            self.transport.abort()


def _bounded_array(make: Callable[[Any], Callable[[Any], Any]]) -> Callable[[Any], Callable[[Any], Any]]:
    """Arrays with no more elements than bytes are left, and none of nothing."""

    @functools.cache
    def bounded(kind: Any) -> Callable[[Any], Any]:
        decode = make(kind)

        def checked(data: Any) -> Any:
            length = ua_binary.Primitives.Int32.unpack(data.copy(_LENGTH_BYTES))
            if length > (0 if kind is ua.VariantType.Null else len(data) - _LENGTH_BYTES):
                raise UaError(f"an array of {length} elements in {len(data)} bytes")
            return decode(data)

        return checked

    return bounded


def _bounded_bytes(data: Any) -> bytes | None:
    """Bytes with their length before them; a negative one would send the library back to what it has read."""
    length = ua_binary.Primitives.Int32.unpack(data)
    if length < -1:
        raise UaError(f"a text of {length} bytes")
    return None if length == -1 else data.read(length)


def _whole_answer(decode: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Decoding that fails in one way only, and tells an answer of another kind."""

    def decoded(kind: Any, data: Any) -> Any:
        try:
            found = decode(kind, data)
        except UaError:
            raise
        except Exception as error:  # the library's decoder meets any bytes
            raise UaError(f"the server's answer cannot be read as {kind.__name__} ({error})") from error
        type_id = getattr(found, "TypeId", None)
        if type_id is not None and type_id != _type_id(kind):
            raise UaError(f"the server answered with {type_id} where {kind.__name__} was due")
        return found

    return decoded


@functools.cache
def _type_id(kind: Any) -> Any:
    return kind().TypeId


def mend_the_library() -> None:
    """Put all this where the library looks for its own; it has no seam for it."""
    client: Any = ua_client
    if client.UASocketProtocol is BoundedSocket:
        return
    binary: Any = ua_binary
    for name in ("_create_uatype_array_deserializer", "_create_list_deserializer"):
        setattr(binary, name, _bounded_array(getattr(binary, name)))
    for name in ("_create_uatype_deserializer", "_create_type_deserializer", "_create_dataclass_deserializer"):
        getattr(binary, name).cache_clear()  # what was made before would keep the old ones
    binary._Bytes.unpack = staticmethod(_bounded_bytes)  # noqa: SLF001 - no seam, as said
    client.UASocketProtocol = BoundedSocket
    session: Any = ua_session
    for module in (client, session):
        module.struct_from_binary = _whole_answer(module.struct_from_binary)
