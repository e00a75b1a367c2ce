"""The GPIO chips of this computer: finds a line by chip, number or name, asks the kernel for it, says why not.

Knows libgpiod's interface but does not load it (``gpiod_factory.py`` does), and does not read any input.
"""

from __future__ import annotations

import difflib
import errno
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from drivers.base import DriverError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import gpiod

    OpenChip = Callable[[str], gpiod.Chip]

DEV: Final = Path("/dev")
#: Who the kernel says has the line.
CONSUMER: Final = "linegate"
#: Labels of the chips behind the 40-pin header; the number of a line there is its GPIO number.
HEADER_LABELS: Final = ("pinctrl-rp1", "pinctrl-bcm2711", "pinctrl-bcm2835")
#: Since this release the kernel numbers the edges of a line.
KERNEL_MIN: Final = "5.10"
#: How many names an error lists.
_SHOWN_MAX: Final = 12
#: What a kernel answers to a request that it does not know.
_UNKNOWN_REQUEST: Final = (errno.EINVAL, errno.ENOTTY)
_FORBIDDEN: Final = (errno.EACCES, errno.EPERM)
_NO_CHIP: Final = (errno.ENODEV, errno.ENOTTY, errno.ENOENT, errno.EINVAL)
_NO_EDGES: Final = (errno.ENXIO, errno.ENOTSUP, errno.EIO)


class Chip(NamedTuple):
    """A chip that was found. ``path`` is its device file, ``lines`` their number."""

    path: str
    label: str
    lines: int

    def __str__(self) -> str:
        return f"{Path(self.path).name} ({self.label})"


class Line(NamedTuple):
    """One line of a chip; ``name`` is empty where the board gives it none."""

    chip: Chip
    offset: int
    name: str

    def __str__(self) -> str:
        named = f" {self.name!r}" if self.name else ""
        return f"line {self.offset}{named} of {self.chip}"


class Chips:
    """What is in ``/dev``; looked at once.

    Args:
        open_chip: opens a device file (``gpiod.Chip``).
        dev: the folder with the device files.
    """

    def __init__(self, open_chip: OpenChip, dev: Path = DEV) -> None:
        self._open_chip = open_chip
        self._dev = dev
        self._chips: tuple[Chip, ...] = ()
        self._forbidden: tuple[str, ...] = ()

    def line(self, line: int | str, chip: str | None) -> Line:
        """The line of this number or name; a name alone is looked for on all chips. Raises DriverError."""
        if isinstance(line, int):
            if chip is None:
                raise DriverError(f"digital_io: line {line} needs its chip; found {self._listed()}")
            return self._numbered(self._chip(chip), line)
        among = self._found() if chip is None else (self._chip(chip),)
        found = [(each, number) for each in among for number, name in self._names(each) if name == line]
        if len(found) == 1:
            return Line(*found[0], line)
        if found:
            places = ", ".join(f"line {number} of {each}" for each, number in found)
            raise DriverError(f"digital_io: the name {line!r} is that of {places}; name the chip and the number")
        known = [name for each in among for _, name in self._names(each) if name]
        near = difflib.get_close_matches(line, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"names found: {_shortened(known)}"
        where = ", ".join(map(str, among)) or "any chip"
        raise DriverError(f"digital_io: no line is named {line!r} on {where}; {hint}{self._unread()}")

    def header_pin(self, number: int, chip: str | None) -> Line:
        """A GPIO number of the 40-pin header; with a chip the line of that number. Raises DriverError."""
        if chip is not None:
            return self.line(number, chip)
        for label in HEADER_LABELS:
            for each in self._found():
                if each.label == label:
                    return self._numbered(each, number)
        raise DriverError(
            f"digital_io: pin {number}: this computer has no chip of a 40-pin header ({', '.join(HEADER_LABELS)}); "
            f"name chip and line instead; found {self._listed()}"
        )

    def request(self, line: Line, settings: gpiod.LineSettings, event_buffer: int) -> gpiod.LineRequest:
        """Take a line, alone: so it has the whole of the kernel's buffer. Raises DriverError."""
        with self._opened(line.chip.path) as chip:
            try:
                config: dict[object, gpiod.LineSettings | None] = {line.offset: settings}
                return chip.request_lines(
                    config=config,  # type: ignore[arg-type]  # its key type is a union, which a dict is invariant in
                    consumer=CONSUMER,
                    event_buffer_size=event_buffer,
                )
            except OSError as error:
                raise DriverError(_not_given(chip, line, error)) from error

    def _chip(self, wanted: str) -> Chip:
        path = Path(wanted) if wanted.startswith("/") else self._dev / wanted
        real = str(path.resolve())  # an alias, such as gpiochip4 of a Raspberry Pi 5, is the same chip
        found = [each for each in self._found() if real == each.path or wanted == each.label]
        if len(found) == 1:
            return found[0]
        if found:
            raise DriverError(f"digital_io: chip {wanted!r} is the label of {self._listed(found)}; name one of them")
        raise DriverError(f"digital_io: no chip {wanted!r}; found {self._listed()}{self._unread()}")

    def _numbered(self, chip: Chip, number: int) -> Line:
        if number >= chip.lines:
            raise DriverError(f"digital_io: no line {number} on {chip}; allowed 0 to {chip.lines - 1}")
        with self._opened(chip.path) as opened:
            return Line(chip, number, _info(opened, number, chip).name or "")

    def _names(self, chip: Chip) -> list[tuple[int, str]]:
        with self._opened(chip.path) as opened:
            return [(number, _info(opened, number, chip).name or "") for number in range(chip.lines)]

    def _found(self) -> tuple[Chip, ...]:
        if self._chips:
            return self._chips
        paths = sorted({path.resolve() for path in self._dev.glob("gpiochip*")}, key=lambda p: (len(p.name), p.name))
        if not paths:
            raise DriverError(
                f"digital_io: no GPIO chip in {self._dev}; this computer has none, its kernel does not drive it, or "
                f"this container may not see it"
            )
        chips, forbidden = [], []
        for path in paths:
            try:
                chips.append(self._described(str(path)))
            except PermissionError:
                forbidden.append(path.name)
        if not chips:
            raise DriverError(_forbidden(f"{self._dev}/{forbidden[0]}"))
        self._chips, self._forbidden = tuple(chips), tuple(forbidden)
        return self._chips

    def _described(self, path: str) -> Chip:
        try:
            chip = self._open_chip(path)
        except OSError as error:
            if error.errno in _FORBIDDEN:
                raise PermissionError from error
            raise DriverError(_unusable(path, error)) from error
        try:
            info = chip.get_info()
            return Chip(path, info.label, info.num_lines)
        finally:
            chip.close()

    @contextmanager
    def _opened(self, path: str) -> Iterator[gpiod.Chip]:
        try:
            chip = self._open_chip(path)
        except OSError as error:
            text = _forbidden(path) if error.errno in _FORBIDDEN else _unusable(path, error)
            raise DriverError(text) from error
        try:
            yield chip
        finally:
            chip.close()

    def _listed(self, chips: list[Chip] | None = None) -> str:
        return ", ".join(f"{each}" for each in (self._found() if chips is None else chips))

    def _unread(self) -> str:
        if not self._forbidden:
            return ""
        return f"; not allowed to look at {', '.join(self._forbidden)} (is the user in the group gpio?)"


def _info(chip: gpiod.Chip, number: int, where: Chip) -> gpiod.LineInfo:
    try:
        return chip.get_line_info(number)
    except OSError as error:
        if error.errno in _UNKNOWN_REQUEST:
            raise DriverError(
                f"digital_io: the kernel ({os.uname().release}) has not the second GPIO interface; it needs Linux "
                f"{KERNEL_MIN} or later"
            ) from error
        raise DriverError(_unusable(where.path, error)) from error


def _not_given(chip: gpiod.Chip, line: Line, error: OSError) -> str:
    if error.errno == errno.EBUSY:
        by = _info(chip, line.offset, line.chip).consumer or "something that gives no name"
        return f"digital_io: {line} is in use by {by!r}; stop that, or take another line"
    if error.errno in _FORBIDDEN:
        return _forbidden(line.chip.path)
    if error.errno in _NO_EDGES:
        return f"digital_io: {line} cannot tell edges ({error.strerror}); take a line that can interrupt"
    return f"digital_io: {line} cannot be had: {error.strerror or error}; check pull and debounce, and the kernel's log"


def _forbidden(path: str) -> str:
    return (
        f"digital_io: no permission for {path}; put the gateway's user in the group gpio, and let its service see the "
        f"device"
    )


def _unusable(path: str, error: OSError) -> str:
    if error.errno in _NO_CHIP:
        return f"digital_io: {path} is not a GPIO chip ({error.strerror}); name a file such as {DEV}/gpiochip0"
    return f"digital_io: {path} cannot be opened: {error.strerror or error}"


def _shortened(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN_MAX} more" if len(names) > _SHOWN_MAX else ""
    return (", ".join(map(repr, names[:_SHOWN_MAX])) + more) if names else "none"
