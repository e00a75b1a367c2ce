"""``file_partner``: a fake ERP that reads and writes files in a folder, in four formats and with four ways of telling.

Careless by default: a file that comes twice is booked twice. What it takes it moves to ``work`` first, so that it goes
on after a kill. The bench's doors are those of every double; the ERP itself listens nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simulators.control import SimulatorError
from simulators.erp import double
from simulators.erp import file_partner_forms as forms
from simulators.erp.checks import RefusedError
from simulators.erp.double import Double, run_double
from simulators.erp.ledger import Booking

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from simulators.control import Control
    from simulators.erp.faults import Due

FOLDERS: Final = ("orders", "confirmations", "receipts")
WORK: Final = "work"
TEMPLATE: Final = "template.xml"
#: A receipt that got lost, was half or was none is written again after so long, in seconds.
AGAIN_S: Final = 0.5
#: Faults whose turn comes when a file is seen, and when it has been booked.
BEFORE: Final = ("locked", "hang", "unavailable", "too-many", "error")
AFTER: Final = ("lose-answers", "half", "html", "garbage", "slow")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this simulator."""
    double.add_arguments(parser)
    parser.add_argument("--folder", type=Path, default=Path("exchange"), help="folder of the files; made if missing")
    parser.add_argument("--format", choices=tuple(forms.SUFFIXES), default="csv", help="of orders and confirmations")
    parser.add_argument(
        "--ack", choices=("none", "moved", "deleted", "file"), default="file", help="how it tells what it booked"
    )
    parser.add_argument("--encoding", default="utf-8", help="code page of csv and fixed")
    parser.add_argument("--poll", type=float, default=0.1, help="seconds between two looks into the folder")


class FilePartner(Double):
    """An ERP behind a folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._folder: Path = options.folder
        self._form: str = options.format
        self._ack: str = options.ack
        self._suffix = forms.SUFFIXES[options.format]
        self._sent = 0
        self._asleep_until_s = 0.0
        self._loop: asyncio.Task[None] | None = None
        self._under_way: set[str] = set()
        super().__init__(options)

    def routes(self) -> Mapping[tuple[str, str], Any]:
        """None: files are its only interface."""
        return {}

    def facts(self) -> dict[str, object]:
        """Where its files are."""
        return {"folder": str(self._folder.resolve()), "format": self._form, "ack": self._ack}

    def declare(self, control: Control) -> None:
        """With ``unmount``: the whole folder is away for so long; ``down`` is the same."""
        super().declare(control)
        control.add("unmount SECONDS", self._unmount)
        control.add("down SECONDS", self._unmount)

    async def open(self) -> None:
        """Make the folders, and begin to look into them."""
        try:
            for name in FOLDERS:
                (self._folder / name).mkdir(parents=True, exist_ok=True)
            (self._folder / "confirmations" / WORK).mkdir(exist_ok=True)
            if self._form == "xml":
                _put(self._folder / TEMPLATE, forms.TEMPLATE.encode())
        except OSError as error:
            raise SimulatorError(
                f"--folder {self._folder}: {error.strerror}; name a folder that can be made"
            ) from error
        await super().open()
        self._loop = asyncio.create_task(self._look())

    async def close(self) -> None:
        """Look no more."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await super().close()

    async def _look(self) -> None:
        left = self._folder / "confirmations" / ("" if self._ack == "deleted" else WORK)
        for path in self._files(left):
            self._go_on(path)  # of before a kill
        while True:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._asleep_until_s:
                # The folder may be unmounted between any two calls.
                with contextlib.suppress(FileNotFoundError):
                    self._release()
                    for path in self._files(self._folder / "confirmations"):
                        if path.name not in self._under_way:
                            self._take(path)
            await asyncio.sleep(self.options.poll)

    def _files(self, folder: Path) -> list[Path]:
        if not folder.is_dir():
            return []
        names = (path for path in folder.iterdir() if path.suffix == self._suffix and not path.name.startswith("."))
        return sorted(path for path in names if path.is_file())

    def _release(self) -> None:
        change, images = self.ledger.changes(self._sent)
        for number, image in enumerate(images, start=self._sent + 1):
            name = f"ORD_{number:08d}_{image['order_id']}{self._suffix}"
            text = forms.orders_text(image, self._form, self.options.encoding, change)
            _put(self._folder / "orders" / name, text)
        self._sent = change

    def _take(self, path: Path) -> None:
        due = self.faults.take("confirmations", *BEFORE)
        if due is not None and due.name == "locked":
            return  # somebody has it open; the next look finds it again
        if due is not None and due.name != "error":
            self._asleep_until_s = asyncio.get_running_loop().time() + max(due.number, AGAIN_S)
            return
        taken = path
        if self._ack == "deleted":
            self._under_way.add(path.name)  # that it is gone means that it is booked
        else:
            taken = path.parent / WORK / path.name
            path.rename(taken)
        late = self.faults.take("confirmations", "late-book")
        if late is not None:
            self.later(late.number, lambda: self._once_mounted(lambda: self._import(taken, None)))
        else:
            self._import(taken, due)

    def _go_on(self, taken: Path) -> None:
        """Booked before the kill or not: the ledger knows."""
        content = taken.read_bytes()
        with contextlib.suppress(RefusedError):
            message = forms.message_of(content, self._form, self.options.encoding)
            found = self.ledger.find(message.key)
            if found is not None and found[1] == hashlib.sha256(content).hexdigest():
                self._tell(taken, message.message_id, found[0], None)
                return
        self._import(taken, None)

    def _import(self, taken: Path, due: Due | None) -> None:
        content = taken.read_bytes()
        message_id, reference, refused = "", "", None
        try:
            message = forms.message_of(content, self._form, self.options.encoding)
            message_id = message.message_id
            if due is not None or message.order in self.faults.poisoned:
                raise RefusedError("SYSTEM", "the import failed")  # noqa: TRY301 - one way out for all refusals
            self._accepted(message.order)
            self.operation_of(self.order_of(message.order), message.operation)
            digest = hashlib.sha256(content).hexdigest()
            fields = {name: value for name, value in message._asdict().items() if name != "message_id"}
            booking = Booking(**fields | {"final": int(message.final)}, digest=digest)
            before = self.ledger.find(message.key) if self.idempotent else None
            reference = before[0] if before is not None else self.book(booking)
        except RefusedError as error:
            refused = error
        self._tell(taken, message_id or taken.stem, reference, refused)

    def _tell(self, taken: Path, message_id: str, reference: str, refused: RefusedError | None) -> None:
        def finish() -> None:
            self._finish(taken, message_id, reference, refused)

        due = self.faults.take("confirmations", *AFTER)
        if due is None:
            self._once_mounted(finish)
            return
        if self._ack == "file" and due.name in {"half", "html", "garbage"}:
            whole = forms.receipt_text(self._form, message_id, reference, refused)
            spoiled = {"half": whole[: len(whole) // 2], "html": b"<html><body>Sign in</body></html>"}
            self._receipt(taken).write_bytes(spoiled.get(due.name, b"\x00\xff\xfe"))  # in place, as the careless do
        self.later(max(due.number, AGAIN_S), lambda: self._once_mounted(finish))

    def _once_mounted(self, run: Callable[[], None]) -> None:
        """Do it, or do it when the folder is back."""
        if self._folder.exists():
            run()
        else:
            self.later(AGAIN_S, lambda: self._once_mounted(run))

    def _finish(self, taken: Path, message_id: str, reference: str, refused: RefusedError | None) -> None:
        if self._ack == "file":
            _put(self._receipt(taken), forms.receipt_text(self._form, message_id, reference, refused))
        self._under_way.discard(taken.name)
        folder = self._folder / "confirmations"
        if refused is not None and self._ack != "file":
            (folder / "error").mkdir(exist_ok=True)
            (folder / "error" / f"{taken.name}.err.txt").write_text(f"{refused.code} {refused}\n")
            taken.rename(folder / "error" / taken.name)
        elif self._ack == "moved":
            (folder / "done").mkdir(exist_ok=True)
            taken.rename(folder / "done" / taken.name)
        else:
            taken.unlink()

    def _receipt(self, taken: Path) -> Path:
        ending = ".xml" if self._form == "b2mml" else ".csv"
        return self._folder / "receipts" / f"ACK_{taken.stem}{ending}"

    def _unmount(self, seconds: float) -> None:
        away = self._folder.with_name(f"{self._folder.name}.away")
        if not away.exists():
            self._folder.rename(away)
            self.later(seconds, lambda: away.rename(self._folder))


def _put(path: Path, content: bytes) -> None:
    """Whole or not at all, under its name."""
    draft = path.with_name(f".{path.name}.tmp")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


def config_text(options: argparse.Namespace, _facts: dict[str, Any]) -> str:
    """The gateway's connector for this ERP."""
    told = f"""\
connectors:
  erp:
    connector: file
    folder: {options.folder.resolve()}
    format: {options.format}
    encoding: {options.encoding}
    ack: {options.ack}
    ask_accepted: 1 s
    poll_orders: 2 s
"""
    if options.format == "fixed":
        told += _columns("columns", forms.CONFIRMATION) + _columns("order_columns", forms.ORDER)
    if options.format == "xml":
        told += f"    template: {(options.folder / TEMPLATE).resolve()}\n"
        told += "    order_path: ORDERS/ORDER\n    operation_path: AG\n    order_columns:\n"
        told += "".join(f"      - {{ name: {name.upper()}, value: {name} }}\n" for name, _ in forms.ORDER)
    return told


def _columns(key: str, columns: tuple[tuple[str, int], ...]) -> str:
    rows = "".join(f"      - {{ value: {name}, width: {width} }}\n" for name, width in columns)
    return f"    {key}:\n{rows}"


async def run(options: argparse.Namespace, control: Control) -> None:
    """Look into the folder until told to end. Raises SimulatorError if port or folder cannot be used."""
    await run_double(FilePartner, options, control)
