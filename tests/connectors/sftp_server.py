"""A server with SFTP in a process of its own: ``sftp_server.py PORT FOLDER KEYFILE [lose-renames N]``.

It prints its port when it listens. ``lose-renames N``: the process dies right after the N-th rename, before its answer.
"""

import asyncio
import os
import sys
from pathlib import Path

import asyncssh


class Server(asyncssh.SSHServer):
    def password_auth_supported(self):
        return True

    def validate_password(self, username, password):
        return (username, password) == ("linegate", "secret")

    def public_key_auth_supported(self):
        return True

    def validate_public_key(self, username, key):
        known = asyncssh.import_public_key(Path(f"{sys.argv[3]}.client").read_text("ascii"))
        return username == "linegate" and key.public_data == known.public_data


class Files(asyncssh.SFTPServer):
    left = 0

    def __init__(self, channel):
        super().__init__(channel, chroot=sys.argv[2].encode())

    def _renamed(self):
        Files.left -= 1
        if Files.left == 0:
            os._exit(9)

    def rename(self, oldpath, newpath):
        super().rename(oldpath, newpath)
        self._renamed()

    def posix_rename(self, oldpath, newpath):
        super().posix_rename(oldpath, newpath)
        self._renamed()


async def main():
    port, _, key = sys.argv[1:4]
    Files.left = int(sys.argv[5]) if len(sys.argv) > 5 else 0
    server = await asyncssh.listen(
        "127.0.0.1", int(port), server_factory=Server, server_host_keys=[key], sftp_factory=Files
    )
    sys.stdout.write(f"{server.get_port()}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
