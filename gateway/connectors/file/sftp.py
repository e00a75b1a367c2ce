"""A folder on a server with SFTP as a place for files. Blocking: its event loop runs only while a call is on.

The server is trusted by the host key that the settings name, never by what it shows first. A lost connection is made
anew by the next call; whether a call that failed was carried out is not decided here. Needs the extra ``sftp``.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import asyncssh

from gateway.connectors.file.place import SignInError
from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import PurePosixPath

T = TypeVar("T")

SSH_PORT: Final = 22
#: A server that is silent for so long while a connection is made is away.
CONNECT_MAX_S: Final = 15.0
#: A connection that says nothing within this is given up.
ALIVE_INTERVAL_S: Final = 5.0
ALIVE_TRIES: Final = 2
CLOSE_MAX_S: Final = 0.5
READ_MAX_BYTES: Final = 64 * 1024 * 1024


class SftpLogin(NamedTuple):
    """Where the server is and who asks. ``host_key`` is one line as in ``known_hosts``, without the name."""

    host: str
    port: int
    user: str
    host_key: str
    password: str | None = None
    key: str | None = None
    passphrase: str | None = None


class SftpPlace:
    """Files of a server; see ``place.Place`` for what each call promises. Calls must not overlap."""

    def __init__(self, login: SftpLogin, *, timeout_ns: int) -> None:
        self._login = login
        self._timeout_s = timeout_ns / NS_PER_S
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: asyncssh.SSHClientConnection | None = None
        self._client: asyncssh.SFTPClient | None = None

    def is_folder(self, path: PurePosixPath) -> bool:
        """Whether it is there and a folder."""
        return self._run(lambda sftp: sftp.isdir(str(path)))

    def may_write(self, folder: PurePosixPath) -> bool:
        """The server tells only when it is tried."""
        del folder
        return True

    def exists(self, path: PurePosixPath) -> bool:
        """Whether a plain file of this name is there."""
        return self._run(lambda sftp: sftp.isfile(str(path)))

    def names(self, folder: PurePosixPath) -> list[str]:
        """The plain files in it, sorted."""

        async def listed(sftp: asyncssh.SFTPClient) -> list[str]:
            found = await sftp.readdir(str(folder))
            plain = (one for one in found if one.attrs.type == asyncssh.FILEXFER_TYPE_REGULAR)
            return sorted(str(one.filename) for one in plain)

        return self._run(listed)

    def listed(self, folder: PurePosixPath) -> list[tuple[str, int]]:
        """The plain files in it, sorted, and when each changed last (nanoseconds, whole seconds)."""
        found = self._run(lambda sftp: sftp.readdir(str(folder)))
        plain = (one for one in found if one.attrs.type == asyncssh.FILEXFER_TYPE_REGULAR)
        return sorted((str(one.filename), (one.attrs.mtime or 0) * NS_PER_S) for one in plain)

    def folders(self, folder: PurePosixPath) -> list[str]:
        """The folders in it, sorted."""
        found = self._run(lambda sftp: sftp.readdir(str(folder)))
        names = (str(one.filename) for one in found if one.attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY)
        return sorted(name for name in names if name not in {".", ".."})

    def stamp(self, path: PurePosixPath) -> tuple[int, int]:
        """Size in bytes, and time of the last change in nanoseconds by the server's clock (whole seconds)."""
        found = self._run(lambda sftp: sftp.stat(str(path)))
        return found.size or 0, (found.mtime or 0) * NS_PER_S

    def read(self, path: PurePosixPath) -> bytes:
        """All of it."""

        async def read(sftp: asyncssh.SFTPClient) -> bytes:
            async with sftp.open(str(path), "rb") as file:
                body = await file.read(READ_MAX_BYTES)
                return body if isinstance(body, bytes) else body.encode()

        return self._run(read)

    def write(self, path: PurePosixPath, body: bytes) -> None:
        """All of it, durable where the server can say so, in place of what was there."""

        async def write(sftp: asyncssh.SFTPClient) -> None:
            async with sftp.open(str(path), "wb") as file:
                await file.write(body)
                with contextlib.suppress(asyncssh.SFTPOpUnsupported):
                    await file.fsync()

        self._run(write)

    def rename(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Atomic; the target is replaced if it is there, as far as the server can."""

        async def rename(sftp: asyncssh.SFTPClient) -> None:
            try:
                await sftp.posix_rename(str(source), str(target))
            except asyncssh.SFTPOpUnsupported:
                await sftp.rename(str(source), str(target))

        self._run(rename)

    def make_folder(self, path: PurePosixPath) -> None:
        """Make it, if it is not there."""

        async def make(sftp: asyncssh.SFTPClient) -> None:
            if not await sftp.isdir(str(path)):
                await sftp.mkdir(str(path))

        self._run(make)

    def remove_folder(self, path: PurePosixPath) -> None:
        """Take away an empty folder."""
        self._run(lambda sftp: sftp.rmdir(str(path)))

    def remove(self, path: PurePosixPath) -> None:
        """Take the file away; it may be gone already."""
        with contextlib.suppress(FileNotFoundError):
            self._run(lambda sftp: sftp.remove(str(path)))

    def sync(self, folder: PurePosixPath) -> None:
        """Nothing: SFTP has no word for it; the server's file system keeps its own promise."""
        del folder

    def close(self) -> None:
        """End the connection; never raises. Not while a call is on, nor from within a running loop."""
        loop, self._loop = self._loop, None
        if loop is not None:
            with contextlib.suppress(Exception):  # nobody could do anything about it
                loop.run_until_complete(self._end())
            loop.close()

    def _run(self, call: Callable[[asyncssh.SFTPClient], Awaitable[T]]) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(self._bounded(call))

    async def _bounded(self, call: Callable[[asyncssh.SFTPClient], Awaitable[T]]) -> T:
        where = f"sftp://{self._login.host}:{self._login.port}"
        try:
            async with asyncio.timeout(self._timeout_s):
                return await call(await self._signed_in())
        except asyncssh.SFTPNoSuchFile as error:
            raise FileNotFoundError(errno.ENOENT, "it is not there") from error
        except asyncssh.SFTPPermissionDenied as error:
            raise PermissionError(errno.EACCES, f"the server refuses: {error.reason}") from error
        except (asyncssh.SFTPNoConnection, asyncssh.SFTPConnectionLost) as error:
            self._drop()
            raise ConnectionError(errno.ECONNRESET, f"{where}: the connection was lost") from error
        except asyncssh.SFTPError as error:
            raise OSError(errno.EIO, f"{where}: {error.reason}") from error
        except asyncssh.HostKeyNotVerifiable as error:
            self._drop()
            text = f"{where}: shows another host key than host_key; is it another server? ({error.reason})"
            raise ConnectionError(errno.ECONNREFUSED, text) from error
        except asyncssh.PermissionDenied as error:
            self._drop()
            text = f"{where}: user {self._login.user} is refused; check the password or the key"
            raise SignInError(errno.EACCES, text) from error
        except (asyncssh.Error, asyncio.IncompleteReadError) as error:
            self._drop()
            raise ConnectionError(errno.ECONNRESET, f"{where}: {error}") from error
        except TimeoutError as error:
            self._drop()
            raise OSError(errno.ETIMEDOUT, f"{where}: no answer within {self._timeout_s:g} s") from error
        except OSError as error:
            self._drop()
            kind = SignInError if isinstance(error, SignInError) else OSError
            raise kind(error.errno, f"{where}: {error.strerror or error}") from error

    async def _signed_in(self) -> asyncssh.SFTPClient:
        if self._client is not None and self._connection is not None and not self._connection.is_closed():
            return self._client
        self._drop()
        login = self._login
        options: dict[str, Any] = {
            "known_hosts": ([asyncssh.import_public_key(login.host_key)], [], []),
            "username": login.user,
            "client_keys": [] if login.key is None else [_key_of(login)],
            "password": login.password,
        }
        self._connection = await asyncssh.connect(
            login.host,
            login.port,
            config=None,
            agent_path=None,
            gss_host=None,
            connect_timeout=min(self._timeout_s, CONNECT_MAX_S),
            login_timeout=min(self._timeout_s, CONNECT_MAX_S),
            keepalive_interval=ALIVE_INTERVAL_S,
            keepalive_count_max=ALIVE_TRIES,
            **options,
        )
        self._client = await self._connection.start_sftp_client()
        return self._client

    def _drop(self) -> None:
        """End what there is of a connection, without waiting for the server."""
        connection, self._connection, self._client = self._connection, None, None
        if connection is not None:
            connection.abort()

    async def _end(self) -> None:
        """Let go of the connection, and see every task of it end."""
        self._drop()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            await asyncio.wait(left, timeout=CLOSE_MAX_S)
        for task in (left := asyncio.all_tasks() - {asyncio.current_task()}):
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=CLOSE_MAX_S)
        await asyncio.sleep(0)  # the transports close in the next turn


def _key_of(login: SftpLogin) -> asyncssh.SSHKey:
    """The private key. Raises SignInError; its text says nothing of the key."""
    try:
        return asyncssh.import_private_key(login.key or "", login.passphrase)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        text = f"private_key, passphrase: found a key that cannot be read ({error}), allowed: an OpenSSH or PEM key; "
        if login.passphrase is not None or "passphrase" in str(error).lower():
            text += "with a passphrase PKCS#8 (openssl pkcs8 -topk8), or OpenSSH where the package bcrypt is installed"
        else:
            text += "name its whole text"
        raise SignInError(errno.EACCES, text) from error
