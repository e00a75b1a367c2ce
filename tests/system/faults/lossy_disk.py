"""A disk in memory that forgets what was not fsynced: what lies behind ``lossyfs`` and behind crash images.

It knows inodes, names and pages. An fsync makes the pages and the size of one file durable, an fsync of a folder its
names; everything else is lost, kept at random or torn at a cut. It has no mount, no socket and no clock but the one
for time stamps. A record of all changes can be replayed up to any of them.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import Any, NamedTuple

PAGE = 4096
SECTOR = 512
#: What the file system says of its size where no quota is set.
CAPACITY_BYTES = 1 << 30
MODES = ("drop", "random", "torn")


class Inode:
    """A file, a folder or a socket. ``undo`` holds what the changed pages were when they were last durable."""

    def __init__(self, number, mode):
        self.number = number
        self.mode = mode
        self.data = bytearray()
        self.durable_size = 0
        self.undo = {}
        #: Pages whose fsync failed: Linux takes them for clean, so that no later fsync writes them.
        self.doomed = {}
        self.entries = {}
        self.changed_ns = time.time_ns()

    @property
    def is_folder(self):
        return stat.S_ISDIR(self.mode)

    @property
    def is_durable(self):
        return not self.undo and not self.doomed and self.durable_size == len(self.data)


class Change(NamedTuple):
    """One change of names, whole or not at all: (folder, name, what the name meant before)."""

    places: tuple[tuple[Inode, str, Inode | None], ...]


class Disk:
    """The file system without its mount. Every error is an ``OSError`` as the kernel would give it."""

    def __init__(self):
        self.root = Inode(1, stat.S_IFDIR | 0o755)
        self.inodes = {1: self.root}
        self.changes = []
        self.quota = None
        self.read_only = False
        self.strict_names = True
        self.failing = {"read": 0, "write": 0, "fsync": 0}
        self.bytes_written = self.bytes_durable = self.writes = self.fsyncs = self.cuts = 0
        self.log = None
        self._next = 2

    # --- looking -----------------------------------------------------------------------------------------------------

    def find(self, path):
        """The inode of an absolute path."""
        node = self.root
        for name in filter(None, path.split("/")):
            node = node.entries.get(name) if node.is_folder else None
            if node is None:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return node

    def place(self, path):
        """Folder and last name of a path."""
        folder, _, name = path.rpartition("/")
        return self.find(folder), name

    def used(self):
        """Bytes of all files that have a name."""
        return sum(_rounded(len(node.data)) for node in self._named(self.root))

    def free(self):
        """Bytes that are left."""
        return max(0, (CAPACITY_BYTES if self.quota is None else self.quota) - self.used())

    def files(self):
        """Path to content, as a program sees them now."""
        return _files(self.root, lambda node: node.entries, lambda node: bytes(node.data))

    def stats(self):
        """What the card had to bear, and what would be lost now."""
        return {
            "writes": self.writes,
            "bytes_written": self.bytes_written,
            "bytes_durable": self.bytes_durable,
            "fsyncs": self.fsyncs,
            "cuts": self.cuts,
            "used": self.used(),
            "pages_not_durable": sum(len(node.undo) + len(node.doomed) for node in self.inodes.values()),
            "names_not_durable": len(self.changes),
        }

    # --- changing ----------------------------------------------------------------------------------------------------

    def create(self, folder, name, mode):
        """A new file, folder or socket."""
        self._writable()
        if name in folder.entries:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        node = Inode(self._next, mode)
        self._next += 1
        self.inodes[node.number] = node
        self._note("create", folder.number, name, mode)
        self._renamed((folder, name, None))
        folder.entries[name] = node
        return node

    def unlink(self, folder, name):
        """Take a name away."""
        self._writable()
        node = folder.entries[name]
        if node.is_folder and node.entries:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), name)
        self._note("unlink", folder.number, name)
        self._renamed((folder, name, node))
        del folder.entries[name]

    def rename(self, folder, name, to_folder, to_name):
        """Give a file another name; a file of that name is replaced."""
        self._writable()
        node = folder.entries[name]
        self._note("rename", folder.number, name, to_folder.number, to_name)
        self._renamed((folder, name, node), (to_folder, to_name, to_folder.entries.get(to_name)))
        del folder.entries[name]
        to_folder.entries[to_name] = node

    def read(self, node, size, offset):
        """Up to ``size`` bytes."""
        self._fails("read")
        return bytes(node.data[offset : offset + size])

    def write(self, node, data, offset):
        """All of the data, or an error."""
        self._writable()
        self._fails("write")
        end = offset + len(data)
        self._room(node, end)
        self._note("write", node.number, offset, bytes(data))
        if offset > len(node.data):
            self._extend(node, offset)
        for page in range(offset // PAGE, (max(end, 1) - 1) // PAGE + 1):
            _remember(node, page)
        node.data[offset:end] = data
        node.changed_ns = time.time_ns()
        self.writes += 1
        self.bytes_written += len(data)
        return len(data)

    def truncate(self, node, size):
        """Cut off, or add zeros."""
        self._writable()
        self._room(node, size)
        self._note("truncate", node.number, size)
        for page in range(size // PAGE, _rounded(len(node.data)) // PAGE):
            _remember(node, page)
        del node.data[size:]
        if size > len(node.data):
            self._extend(node, size)
        node.changed_ns = time.time_ns()

    def fsync(self, node):
        """Make a file durable, or a folder's names."""
        self.fsyncs += 1
        try:
            self._fails("fsync")
        except OSError:
            for page, before in node.undo.items():
                node.doomed.setdefault(page, before)
            node.undo.clear()
            raise
        self._note("fsync", node.number)
        if node.is_folder or not self.strict_names:
            self.changes = [
                change
                for change in self.changes
                if self.strict_names and all(place[0] is not node for place in change.places)
            ]
        self.bytes_durable += PAGE * len(node.undo)
        node.undo.clear()
        node.durable_size = len(node.data)

    def sync(self):
        """Make everything durable."""
        self._note("sync")
        for node in self.inodes.values():
            node.undo.clear()
            node.doomed.clear()
            node.durable_size = len(node.data)
        self.changes.clear()

    # --- losing ------------------------------------------------------------------------------------------------------

    def survivors(self, mode, rng):
        """What a cut would leave: names by folder, contents by inode. Changes nothing."""
        assert mode in MODES, f"{mode!r}: allowed are {MODES}"
        names = {node.number: dict(node.entries) for node in self.inodes.values() if node.is_folder}
        lost, broken = [], set()
        for change in self.changes:
            folders = {folder.number for folder, _, _ in change.places}
            # A folder's names reach the disk in their order: behind the first that is lost, all are.
            if mode == "drop" or folders & broken or rng.random() < 1 / 2:
                broken |= folders
                lost.append(change)
        for change in reversed(lost):
            for folder, name, before in change.places:
                if before is None:
                    names[folder.number].pop(name, None)
                else:
                    names[folder.number][name] = before
        contents = {}
        for number, node in sorted(self.inodes.items()):
            contents[number] = bytes(node.data) if node.is_durable else _torn(node, mode, rng)
        return names, contents

    def cut(self, mode, rng):
        """The power fails: what is left is durable."""
        names, contents = self.survivors(mode, rng)
        for number, node in self.inodes.items():
            node.data = bytearray(contents[number])
            node.entries = names.get(number, {})
        self.sync()
        self.inodes = {1: self.root} | {node.number: node for node in self._named(self.root)}
        self.cuts += 1

    def image(self, mode, rng):
        """Path to content after a cut; changes nothing."""
        names, contents = self.survivors(mode, rng)
        return _files(self.root, lambda node: names[node.number], lambda node: contents[node.number])

    # --- parts -------------------------------------------------------------------------------------------------------

    def _renamed(self, *places):
        self.changes.append(Change(places))

    def _note(self, name, *values):
        if self.log is not None:
            self.log.append((time.time_ns(), name, values))

    def _writable(self):
        if self.read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def _fails(self, what):
        if self.failing[what]:
            self.failing[what] -= 1 if self.failing[what] > 0 else 0  # below 0: until it is told otherwise
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _room(self, node, size):
        more = _rounded(size) - _rounded(len(node.data))
        if self.quota is not None and more > 0 and self.used() + more > self.quota:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @staticmethod
    def _extend(node, size):
        # The page that the end lies in changes from here on, too.
        for page in range(len(node.data) // PAGE, _rounded(size) // PAGE):
            _remember(node, page)
        node.data.extend(bytes(size - len(node.data)))

    def _named(self, folder):
        for node in folder.entries.values():
            yield node
            yield from self._named(node)


class Record:
    """All changes since a moment: ``replayed`` yields the disk behind each of them."""

    def __init__(self, base, log):
        self.base = base
        self.log = log

    def replayed(self):
        """(number, time in ns UTC, name and values of the change, the disk behind it). It is one disk that goes on."""
        disk = _copied(self.base)
        for number, (at_ns, name, values) in enumerate(self.log):
            _apply(disk, name, values)
            yield number, at_ns, name, values, disk


def copied(disk):
    """A copy of what is on the disk, with what is not durable yet; without faults, figures and record."""
    return _copied(disk)


def _copied(disk):
    twin = Disk()
    twin._next, twin.strict_names = disk._next, disk.strict_names
    for number, node in disk.inodes.items():
        one = twin.inodes.setdefault(number, Inode(number, node.mode))
        one.data, one.durable_size = bytearray(node.data), node.durable_size
        one.undo, one.doomed = dict(node.undo), dict(node.doomed)
    for number, node in disk.inodes.items():
        twin.inodes[number].entries = {name: twin.inodes[held.number] for name, held in node.entries.items()}
    for change in disk.changes:
        places = ((folder.number, name, before.number if before else 0) for folder, name, before in change.places)
        twin.changes.append(
            Change(tuple((twin.inodes[folder], name, twin.inodes.get(before)) for folder, name, before in places))
        )
    return twin


def _apply(disk: Disk, name: str, values: tuple[Any, ...]) -> None:
    nodes = disk.inodes
    if name == "create":
        disk.create(nodes[values[0]], *values[1:])
    elif name == "unlink":
        disk.unlink(nodes[values[0]], values[1])
    elif name == "rename":
        disk.rename(nodes[values[0]], values[1], nodes[values[2]], values[3])
    elif name == "write":
        disk.write(nodes[values[0]], values[2], values[1])
    elif name in ("truncate", "fsync"):
        getattr(disk, name)(nodes[values[0]], *values[1:])
    elif name == "sync":
        disk.sync()
    else:
        assert name == "mark", name


def _remember(node, page):
    if page not in node.undo:
        before = node.doomed.pop(page, None)
        node.undo[page] = bytes(node.data[page * PAGE : (page + 1) * PAGE]) if before is None else before


def _torn(node, mode, rng):
    live, durable = len(node.data), node.durable_size
    data = bytearray(node.data).ljust(max(_rounded(live), _rounded(durable)), b"\0")
    step = SECTOR if mode == "torn" else PAGE
    for page, before in sorted({**node.doomed, **node.undo}.items()):
        old = before.ljust(PAGE, b"\0")
        for at in range(0, PAGE, step):
            if mode == "drop" or rng.random() < 1 / 2:
                data[page * PAGE + at : page * PAGE + at + step] = old[at : at + step]
    size = durable
    if mode != "drop":
        low, high = sorted((live, durable))
        size = rng.choice((live, durable, min(high, _rounded(rng.randint(low, high)))))
    return bytes(data[:size])


def _files(folder, names, content, path=""):
    found = {}
    for name, node in sorted(names(folder).items()):
        if node.is_folder:
            found |= _files(node, names, content, f"{path}{name}/")
        elif stat.S_ISREG(node.mode):
            found[path + name] = content(node)
    return found


def _rounded(size):
    return -(-size // PAGE) * PAGE
