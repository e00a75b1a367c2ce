"""A stand-in for the kernel's GPIO chips, with the surface of libgpiod v2 (there is no chip in a test machine).

It has what matters of the kernel: every request has a bounded buffer that drops the oldest edges, the numbers of the
edges go on, and the file descriptor is readable as long as something is in the buffer.
"""

import errno
import os
import select
from collections import deque
from pathlib import Path

import gpiod
import pytest
from gpiod.line import Edge, Value

RISING = gpiod.EdgeEvent.Type.RISING_EDGE.value
FALLING = gpiod.EdgeEvent.Type.FALLING_EDGE.value
KERNEL_BUFFER_MAX = 1_024


def refused(code):
    return OSError(code, os.strerror(code))


class Wire:
    """One line of a chip, from the outside: a test moves it."""

    def __init__(self, name=""):
        self.name = name
        self.level = 0
        self.consumer = ""
        self.refuses = 0  # errno of a request
        self.request = None
        self.requests = 0

    def edge(self, level, t_ns):
        """The level changes, and the kernel hears it."""
        self.level = level
        if self.request is not None:
            self.request.put(level, t_ns)


class Request:
    """``gpiod.LineRequest`` for one line."""

    def __init__(self, chip, offset, settings, capacity):
        self.chip, self.offset, self.settings = chip, offset, settings
        self.capacity = min(capacity or 16, KERNEL_BUFFER_MAX)
        self.wire = chip.wires[offset]
        self.fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.events = deque()
        self.seqno = 0
        self.dropped = 0
        self.gone = False
        self.released = False
        self.refusals = 0

    def put(self, level, t_ns):
        if self.settings.edge_detection is Edge.NONE:
            return
        self.seqno = (self.seqno + 1) & 0xFFFF_FFFF
        if len(self.events) == self.capacity:
            self.events.popleft()
            self.dropped += 1
        elif not self.events:
            os.eventfd_write(self.fd, 1)
        self.events.append(gpiod.EdgeEvent(RISING if level else FALLING, t_ns, self.offset, self.seqno, self.seqno))

    def unplug(self):
        self.gone = True
        os.eventfd_write(self.fd, 1)  # the kernel says hang-up; the loop reads then, too

    def read_edge_events(self, max_events=None):
        self._check()
        assert self.events, "the kernel would block here"
        found = [self.events.popleft() for _ in range(min(max_events or 64, len(self.events)))]
        if not self.events:
            os.eventfd_read(self.fd)
        return found

    def wait_edge_events(self, timeout=None):
        return bool(select.select([self.fd], [], [], timeout)[0])

    def get_values(self, lines=None):
        self._check()
        assert lines == [self.offset]
        return [Value.ACTIVE if self.wire.level else Value.INACTIVE]

    def reconfigure_lines(self, config):
        self._check()
        (self.settings,) = config.values()

    def release(self):
        assert not self.released
        self.released = True
        self.wire.request = None
        self.wire.consumer = ""
        os.close(self.fd)

    def _check(self):
        if self.gone:
            self.refusals += 1
            raise refused(errno.ENODEV)


class OpenedChip:
    """``gpiod.Chip``."""

    def __init__(self, chip):
        self.chip = chip
        chip.opened += 1

    def get_info(self):
        return gpiod.ChipInfo(self.chip.name, self.chip.label, len(self.chip.wires))

    def get_line_info(self, offset):
        if self.chip.old_kernel:
            raise refused(errno.EINVAL)
        wire = self.chip.wires[offset]
        used = bool(wire.consumer)
        return gpiod.LineInfo(offset, wire.name, used, wire.consumer, 1, False, 1, 1, 1, 1, False, 0)

    def request_lines(self, config, consumer=None, event_buffer_size=None):
        ((offset, settings),) = config.items()
        wire = self.chip.wires[offset]
        if wire.refuses:
            raise refused(wire.refuses)
        if wire.consumer:
            raise refused(errno.EBUSY)
        wire.consumer = consumer
        wire.requests += 1
        wire.request = Request(self.chip, offset, settings, event_buffer_size)
        return wire.request

    def close(self):
        self.chip.opened -= 1


class Chip:
    """A chip that is there, or refuses (``refuses``: errno)."""

    def __init__(self, name, label, names):
        self.name, self.label = name, label
        self.wires = [Wire(each) for each in names]
        self.refuses = 0
        self.old_kernel = False
        self.opened = 0

    def __getitem__(self, number):
        return self.wires[number]

    def unplug(self):
        self.refuses = errno.ENODEV
        for wire in self.wires:
            if wire.request is not None:
                wire.request.unplug()

    def plug(self):
        self.refuses = 0


class Kernel:
    """The chips of a computer; ``open_chip`` and ``dev`` are what the driver takes."""

    def __init__(self, dev):
        self.dev = dev
        self.chips = {}
        dev.mkdir()

    def add(self, name, label, lines):
        """A chip with so many nameless lines, or with these names."""
        names = [""] * lines if isinstance(lines, int) else lines
        path = self.dev / name
        path.touch()
        chip = self.chips[str(path)] = Chip(name, label, names)
        return chip

    def open_chip(self, path):
        chip = self.chips.get(path)
        if chip is None:
            raise refused(errno.ENODEV if Path(path).exists() else errno.ENOENT)
        if chip.refuses:
            raise refused(chip.refuses)
        return OpenedChip(chip)


@pytest.fixture
def kernel(tmp_path):
    """A computer without any chip; ``add`` them. What was opened must be closed."""
    kernel = Kernel(tmp_path / "dev")
    yield kernel
    for chip in kernel.chips.values():
        assert chip.opened == 0
        assert all(wire.request is None for wire in chip.wires)


@pytest.fixture
def header(kernel):
    """The chip of the 40-pin header, as a Raspberry Pi 4 has it."""
    return kernel.add("gpiochip0", "pinctrl-bcm2711", [f"GPIO{number}" for number in range(28)])
