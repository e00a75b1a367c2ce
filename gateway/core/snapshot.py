"""The state of a work unit as JSON data with a version, and back.

The detectors are stored with the signal they belong to: a configuration with other counters finds its baselines again,
new ones start afresh, removed ones are reported by their absence.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.core import undo
from gateway.core.confirming.quantities import Pieces
from gateway.core.confirming.run_checks import RunChecks, checks_from
from gateway.core.confirming.triggers import Trigger as Asked
from gateway.core.counting.counter import CounterState, OldTrack, Pending
from gateway.core.counting.detector import loaded, plain
from gateway.core.counting.modes import state_of
from gateway.core.counting.pulse import PulseState
from gateway.core.model import JobOrder, JobOrderState, LostCounter, Role, UnknownInterval
from gateway.core.orders.attribution import PastOrders
from gateway.core.orders.distribution import Original, Shares
from gateway.core.orders.handover import with_images
from gateway.core.orders.job_run import JobRun
from gateway.core.orders.merged import Merged
from gateway.core.orders.order_image import decode as decode_image
from gateway.core.orders.order_image import encode as encode_image
from gateway.core.orders.queue_entries import rank_of
from gateway.core.orders.shares import Sharing, sharing_from
from gateway.core.orders.standing_holds import holds_from, on_run_from
from gateway.core.orders.unallocated import Bucket, BucketEntry, Found, restored
from gateway.core.source_clock import SourceClocks
from gateway.core.unit_state import State, Tally
from gateway.core.work.ledger import WorkState, work_state_from
from gateway.core.work.run_work import RunWork, work_from

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.orders.shares import MemberRow
    from gateway.core.rules import AnyCountingRule
    from gateway.core.unit_state import DetectorState
    from gateway.core.work_unit import WorkUnit

VERSION: Final = 5
#: What can be loaded. 1 knew counters and pulses, three roles and no former orders; up to 2 there was no history of
#: states, up to 3 neither holds nor images of orders: what is not there starts at nothing. Up to 4 only the number of
#: pieces without an order was known, and one order ran at a time.
VERSIONS: Final = (1, 2, 3, 4, VERSION)
_WITH_STATES: Final = 3
_WITH_IMAGES: Final = 4
_WITH_BUCKET: Final = 5
_WITH_WORK: Final = 5


class SnapshotError(Exception):
    """A stored state cannot be read: which field, and what to do."""


def dump(unit: WorkUnit, state: State) -> bytes:
    """The state as it is stored."""
    data = encode(unit, state)
    queue = _queue(data.pop("queue"))
    return b'%b,"queue":%b}' % (_any_json(data)[:-1], queue)


def _any_json(data: Any) -> bytes:
    # The standard library's: it has no largest integer, takes any text, and what a device says may be no number.
    return json.dumps(data, separators=(",", ":")).encode()


def _queue(runs: list[dict[str, Any]]) -> bytes:
    """Most of a state, written with every step: ten times as fast, where it is as plain as it mostly is."""
    try:
        return orjson.dumps(runs, default=_listed)
    except TypeError:  # half a character, or a number beyond 64 bits
        return _any_json(runs)


def _listed(value: object) -> list[Any]:
    if isinstance(value, tuple):  # with names
        return list(value)
    raise TypeError


def load(unit: WorkUnit, stored: bytes) -> State:
    """A stored state, ready to go on after a restart. Raises SnapshotError."""
    try:
        data = json.loads(stored)
    except ValueError as error:
        raise SnapshotError(f"the stored state of {unit.identity.machine} is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise SnapshotError(f"the stored state of {unit.identity.machine} is no JSON object")
    return decode(unit, data)


def encode_whole(unit: WorkUnit, state: State) -> dict[str, Any]:
    """The state as JSON data with the images of its orders, for whoever reads it where no database is."""
    images = {run.job.image_digest: run.job.image for run in state.all_runs() if run.job.image is not None}
    return encode(unit, state) | {"images": {digest: encode_image(image) for digest, image in images.items()}}


def encode(unit: WorkUnit, state: State) -> dict[str, Any]:
    """The state as JSON data; images of orders by their digest."""
    rules = unit.rules.counters
    evidence_names = tuple(unit.evidence_signals)
    return {
        "v": VERSION,
        "at_ns": state.at_ns,
        "detectors": {
            rule.signal: {"mode": rule.mode, "state": _plain(kept)}
            for rule, kept in zip(rules, state.detectors, strict=True)
        },
        "track": unit.machine.plain(state.track),
        "evidence": dict(zip(evidence_names, state.evidence, strict=True)),
        "running": None if state.running is None else encode_run(state.running),
        "beside": [encode_run(run) for run in state.beside],
        "queue": [encode_run(run) for run in state.queue],
        "job_tag": state.job_tag,
        "counted": list(state.counted),
        "bucket": state.bucket._asdict(),
        "previous": None if state.previous is None else encode_run(state.previous),
        "review": state.review,
        "unknown": [interval._asdict() for interval in state.unknown],
        "unknown_older": list(state.unknown_older),
        "last_piece_ns": state.last_piece_ns,
        "journal_seq": state.journal_seq,
        "past": plain(state.past),
        "utc_offset_ns": state.utc_offset_ns,
        "kpi_rules": unit.kpi_rules,
        "clocks": plain(state.clocks),
        "next_told": state.next_told,
        "last_word": _last_word(state),
        "work": state.work._asdict(),
        "sharing": state.sharing._asdict(),
        "handling_unit": state.handling_unit,
        "lost": [list(one) for one in state.lost],
        "standing": [list(one) for one in state.standing],
    }


def decode(unit: WorkUnit, data: dict[str, Any]) -> State:
    """The state from JSON data, ready to go on after a restart. Raises SnapshotError."""
    version = data.get("v") if isinstance(data, dict) else None
    if version not in VERSIONS:
        raise SnapshotError(f"state version {version!r} of {unit.identity.machine}; this program knows {VERSION}")
    try:
        fresh = unit.initial(data["at_ns"])
        detectors = tuple(
            _detector_state(rule, data["detectors"].get(rule.signal), initial)
            for rule, initial in zip(unit.rules.counters, fresh.detectors, strict=True)
        )
        track = fresh.track
        if version >= _WITH_STATES:
            track = unit.machine.loaded(data["track"])
        state = State(
            at_ns=data["at_ns"],
            detectors=detectors,
            track=track,
            evidence=tuple(data["evidence"].get(name) for name in unit.evidence_signals),
            running=None if data["running"] is None else decode_run(data["running"]),
            beside=() if version < _WITH_BUCKET else tuple(decode_run(run) for run in data["beside"]),
            queue=tuple(sorted((decode_run(run) for run in data["queue"]), key=rank_of)),
            job_tag=data["job_tag"],
            counted=Tally(*data["counted"]),
            bucket=restored(data["bucket"]) if version >= _WITH_BUCKET else _bucket_of(data),
            previous=None if version < _WITH_BUCKET else _run_or_none(data["previous"]),
            review=data["review"],
            unknown=tuple(
                UnknownInterval(**interval)._replace(role=Role(interval["role"])) for interval in data["unknown"]
            ),
            unknown_older=(data["unknown_older"][0], data["unknown_older"][1]),
            last_piece_ns=data["last_piece_ns"],
            journal_seq=data["journal_seq"],
            past=loaded(PastOrders, {} if version == 1 else data["past"]),
            utc_offset_ns=0 if version < _WITH_STATES else data["utc_offset_ns"],
            clocks=loaded(SourceClocks, {} if version < _WITH_STATES else data["clocks"]),
            next_told=data["next_told"] if version >= _WITH_IMAGES else "",
            last_word=undo.loaded(data["last_word"]) if version >= _WITH_WORK else None,
            undoable=_undoable(data) if version >= _WITH_WORK else (),
            work=work_state_from(data["work"]) if version >= _WITH_WORK else WorkState(),
            sharing=sharing_from(data["sharing"]) if "sharing" in data else Sharing(),
            handling_unit=data["handling_unit"] if version >= _WITH_WORK else None,
            lost=tuple(LostCounter(*one) for one in data.get("lost", ())),
            standing=holds_from(data.get("standing", ())),
        )
        state = with_images(state, {digest: decode_image(one) for digest, one in data.get("images", {}).items()})
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise SnapshotError(f"the stored state of {unit.identity.machine} cannot be read: {error!r}") from error
    return unit.restored(state)


def _last_word(state: State) -> dict[str, Any] | None:
    """What a person decided last, with the orders that it confirmed."""
    word = undo.plain(state.last_word)
    return word if word is None else word | {"undoable": [encode_run(run) for run in state.undoable]}


def _undoable(data: dict[str, Any]) -> tuple[JobRun, ...]:
    # An older state has none.
    return tuple(decode_run(run) for run in (data["last_word"] or {}).get("undoable", ()))


def booked_of(stored: Iterable[bytes], machine: str) -> tuple[MemberRow, ...]:
    """What other machines have booked of a member, by their stored states; one that cannot be read says nothing."""
    found: list[MemberRow] = []
    for one in stored:
        try:
            found += sharing_from(json.loads(one)["sharing"]).member(machine).rows
        except (LookupError, TypeError, ValueError):
            continue
    return tuple(found)


def _run_or_none(data: dict[str, Any] | None) -> JobRun | None:
    return None if data is None else decode_run(data)


def _bucket_of(data: dict[str, Any]) -> Bucket:
    """Pieces of which only the number is known: one entry for each role."""
    left = Pieces(*data["unallocated"])
    since_ns = data["unallocated_since_ns"]
    span = (data["at_ns"] if since_ns is None else since_ns, data["at_ns"])
    found = [Found("", role, left.role(role), *span) for role in Role if left.role(role)]
    entries = tuple(BucketEntry(number, one) for number, one in enumerate(found, 1))
    return Bucket(entries, len(entries), received=left)


def encode_run(run: JobRun) -> dict[str, Any]:
    """A job order with its numbers as JSON data."""
    merged = None
    if run.merged is not None:
        merged = {
            "how": run.merged.how,
            "originals": [one._asdict() for one in run.merged.originals],
            "runs": [encode_run(one) for one in run.merged.runs],
            "given": [list(one.given) for one in run.merged.given],
        }
    return {**run._asdict(), "job": encode_job(run.job), "work": run.work._asdict(), "merged": merged} | {
        "checks": run.checks._asdict()
    }


def decode_run(data: dict[str, Any]) -> JobRun:
    """A job order with its numbers from JSON data."""
    run = JobRun(**{**data, "job": decode_job(data["job"]), "merged": _merged(data.get("merged"))})
    held_from = None if run.held_from is None else JobOrderState(run.held_from)
    return run._replace(
        state=JobOrderState(run.state),
        open_flags=tuple(run.open_flags),
        held_from=held_from,
        waiting=tuple(Asked(one) for one in run.waiting),
        open_scrap_reasons=tuple((reason, pieces) for reason, pieces in run.open_scrap_reasons),
        documents_read=tuple(run.documents_read),
        external=(run.external[0], run.external[1], run.external[2]),
        before_state=None if run.before_state is None else JobOrderState(run.before_state),
        work=work_from(data["work"]) if "work" in data else RunWork(),
        checks=checks_from(data["checks"]) if "checks" in data else RunChecks(),
        standing=on_run_from(run.standing),
    )


def _merged(data: dict[str, Any] | None) -> Merged | None:
    if data is None:
        return None
    return Merged(
        how=data["how"],
        originals=tuple(Original(**one) for one in data["originals"]),
        runs=tuple(decode_run(one) for one in data["runs"]),
        given=tuple(Shares(tuple(one)) for one in data["given"]),
    )


def encode_job(job: JobOrder) -> dict[str, Any]:
    """A job order as JSON data; its quantity as a decimal string, its image by its digest."""
    data = {**job._asdict(), "quantity": str(job.quantity), "echo": dict(job.echo)}
    del data["image"]
    return data


def decode_job(data: dict[str, Any]) -> JobOrder:
    """A job order from JSON data."""
    quantity, echo = Decimal(data["quantity"]), tuple(data["echo"].items())
    return JobOrder(**{**data, "quantity": quantity, "echo": echo, "leads": tuple(data.get("leads", ()))})


def _plain(kept: DetectorState) -> dict[str, Any]:
    if not isinstance(kept, (CounterState, PulseState)):
        data: dict[str, Any] = plain(kept)
        return data
    data = kept._asdict()
    if isinstance(kept, CounterState):
        data["pending"] = None if kept.pending is None else list(kept.pending)
        data["old"] = None if kept.old is None else list(kept.old)
    return data


def _detector_state(rule: AnyCountingRule, stored: dict[str, Any] | None, initial: DetectorState) -> DetectorState:
    if stored is None or stored["mode"] != rule.mode:
        return initial
    data = stored["state"]
    if rule.mode == "counter":
        pending, old = data["pending"], data["old"]
        return CounterState(
            **{
                **data,
                "pending": None if pending is None else Pending(*pending),
                "old": None if old is None else OldTrack(*old),
            }
        )
    if rule.mode == "pulse":
        return PulseState(**data)
    composed: DetectorState = loaded(state_of(rule), data)
    return composed
