"""Looking into the database from another process while the daemon runs: it cannot write, and nobody waits for it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any, Self

from buffer import audit, clock_record, jobs, journal, moment, packing, schema, steps
from buffer.audit import AuditRow
from buffer.entry import OutboxCounts, OutboxEntry, OutboxState, entry_of
from buffer.errors import StoreError
from buffer.outbox_counts import counts_of, counts_query
from buffer.outbox_pages import page_query
from buffer.outbox_whole import Whole, whole_of
from buffer.step import JournalRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from buffer.steps import StepRow
    from gateway.core.calendar.honest_time import ClockCorrection
    from gateway.core.model import JobRecord


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write, for whoever has queries of its own. Raises StoreError, also in its block."""
    if not path.is_file():
        raise StoreError(f"{path}: there is no database; the gateway makes it at its first start")
    try:
        with contextlib.closing(
            sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
        ) as connection:
            connection.execute(f"PRAGMA busy_timeout={schema.BUSY_TIMEOUT_MS}")
            connection.execute("PRAGMA query_only=ON")
            yield connection
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be read: {error}; are you allowed to read its folder?") from error


class ReadOnlyStore:
    """A read-only view for the command line; use it as a context manager.

    Opening raises StoreError where there is no database or it cannot be read, NewerSchemaError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise StoreError(f"{path}: there is no database; the gateway makes it at its first start")
        try:
            self._connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
        except sqlite3.Error as error:
            raise StoreError(f"{path}: cannot be opened: {error}; are you allowed to read it?") from error
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    @property
    def epoch(self) -> str:
        """Random name of this database."""
        return str(self._read("SELECT epoch FROM meta", ())[0][0])

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    def read(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Rows of a query. Raises StoreError."""
        return self._read(sql, values)

    @contextlib.contextmanager
    def moment(self) -> Iterator[None]:
        """All that is read in the block is of one moment. Hold it for a look only. Raises StoreError."""
        try:
            with moment.held(self._connection):
                yield
        except sqlite3.Error as error:
            raise self._unread(error) from error

    def snapshots(self) -> dict[str, bytes]:
        """The last committed state of each work unit."""
        rows = self._read("SELECT id, snapshot FROM work_unit", ())
        return {unit: packing.unpacked(stored) for unit, stored in rows}

    def snapshot(self, work_unit: str) -> bytes | None:
        """The last committed state of this work unit, None if it never ran."""
        rows = self._read("SELECT snapshot FROM work_unit WHERE id = ?", (work_unit,))
        return packing.unpacked(rows[0][0]) if rows else None

    def outbox(
        self,
        *,
        target: str | None = None,
        state: OutboxState | None = None,
        order: str | None = None,
        key: str | None = None,
        kind: str | None = None,
        before_id: int | None = None,
        limit: int = 100,
    ) -> list[OutboxEntry]:
        """Postings, newest first."""
        names = {"target": target, "order": order, "key": key, "kind": kind}
        sql, values = page_query(**names, state=state, before_id=before_id, limit=limit, contents=True)
        return [entry_of(row) for row in self._read(sql, values)]

    def steps(self, posting: int) -> tuple[StepRow, ...]:
        """The steps of a posting, () where it is one message without a baseline."""
        return steps.found(self._read(steps.READ, (posting,)))

    def whole(self, posting: int) -> Whole | None:
        """A posting and all that stands beside it, of one moment; None if there is none. Raises StoreError."""
        with self.moment():
            return whole_of(posting, self._connection)

    def audit(self, limit: int) -> list[AuditRow]:
        """What persons did, newest first."""
        return [AuditRow(*row) for row in self._read(*audit.newest_query(limit))]

    def corrections(self) -> tuple[ClockCorrection, ...]:
        """What was learned of UTC: by it stored times, which are steady, are named (``utc_of``)."""
        return clock_record.corrections_of(self._read(*clock_record.corrections_query()))

    def work_units(self) -> list[str]:
        """Every work unit that ever ran."""
        return [str(row[0]) for row in self._read("SELECT id FROM work_unit ORDER BY id", ())]

    def journal_of_kind(self, work_unit: str, kind: str, from_ns: int, limit: int) -> list[JournalRow]:
        """Rows that were written at this steady time or later, oldest first: ``interval``, ``stop_reason`` ..."""
        return [JournalRow(*row) for row in self._read(*journal.of_kind_query(work_unit, kind, from_ns, limit))]

    def pieces(self, work_unit: str, from_ns: int, to_ns: int) -> list[bytes]:
        """What was booked in a stretch of steady time, each as its JSON."""
        return journal.pieces_between(self._read, journal.PiecesSpan(work_unit, from_ns, to_ns))

    def job_records(self) -> list[JobRecord]:
        """Every remembered job order."""
        return [jobs.decode(row[0]) for row in self._read("SELECT record FROM job", ())]

    def job_records_of(self, orders: Iterable[str]) -> list[JobRecord]:
        """What is remembered of the operations of these orders."""
        named = json.dumps(sorted(set(orders)))
        rows = self._read("SELECT record FROM job WHERE order_id IN (SELECT value FROM json_each(?))", (named,))
        return [jobs.decode(row[0]) for row in rows]

    def counts(self, target: str) -> OutboxCounts:
        """How much is where."""
        sql, values = counts_query(target)
        return counts_of(self._read(sql, values))

    def targets(self) -> list[str]:
        """Every target that ever had a posting."""
        return [str(row[0]) for row in self._read("SELECT DISTINCT target FROM outbox_tally", ())]

    def _prepare(self) -> None:
        for pragma in (f"PRAGMA busy_timeout={schema.BUSY_TIMEOUT_MS}", "PRAGMA query_only=ON"):
            self._read(pragma, ())
        packing.teach(self._connection)
        schema.check_present(self._path, self._read("PRAGMA user_version", ())[0][0])

    def _read(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._unread(error) from error

    def _unread(self, error: sqlite3.Error) -> StoreError:
        return StoreError(f"{self._path}: cannot be read: {error}; are you allowed to read its folder?")
