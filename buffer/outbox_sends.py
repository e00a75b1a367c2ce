"""A posting on its way: begun, settled, and from step to step. Works inside a transaction that is open.

It sends nothing, and decides nothing: which state may follow upon which stands in ``entry``, and the schema guards it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer import outbox_answers, steps
from buffer.entry import COLUMNS, GOODS_ERROR, SENT_FROM, SETTLED_FROM, THERE, OutboxEntry, OutboxState, entry_of
from buffer.errors import OutboxError
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiosqlite

    from buffer.entry import Settlement
    from buffer.steps import Message
    from gateway.core.target_answer import Answer

#: A message from a target may be long; a person reads the start of it.
ERROR_TEXT_MAX_CHARS: Final = 500
ERROR_CODE_MAX_CHARS: Final = 100
REFERENCE_MAX_CHARS: Final = 500

_BEGIN_SEND: Final = """
    state = 'sending', attempts = attempts + 1, lookups = 0, first_sent_ns = coalesce(first_sent_ns, :now),
    last_sent_ns = :now, unclear_ns = NULL, steps = CASE WHEN body IS NULL THEN :steps ELSE steps END,
    body = coalesce(body, :body), content_type = coalesce(content_type, :content_type), name = coalesce(name, :name)
"""
_SETTLE: Final = """
    state = :state, due_ns = :due, reference = CASE :reference WHEN '' THEN reference ELSE :reference END,
    unclear_ns = CASE WHEN :state = 'uncertain' AND state = 'sending' THEN :now ELSE unclear_ns END,
    settled_ns = CASE WHEN :state IN ('posted', 'delivered', 'parked') THEN :now END,
    error_since_ns = CASE WHEN :kind = '' THEN NULL WHEN error_kind = :kind THEN error_since_ns ELSE :now END,
    error_count = CASE WHEN :kind = '' THEN 0 WHEN error_kind = :kind THEN error_count + 1 ELSE 1 END,
    error_kind = :kind, error_code = :code, error_text = :text,
    passed = :state = 'accepted' AND :passed AND step = steps - 1
"""
#: A person may have told the step to be booked while its target was asked for it: that answer says nothing of the next.
_OF_STEP: Final = "AND (:step IS NULL OR step = :step)"
_LEAVES_NOW: Final = "(:go AND step >= left_step)"
# What a person has seen and released was a warning of one step: of the next one he has seen nothing.
_NEXT_STEP: Final = f"""
    UPDATE outbox SET step = step + 1,
        state = CASE WHEN step < left_step THEN 'uncertain' WHEN :go THEN 'sending' ELSE 'ready' END,
        attempts = attempts + {_LEAVES_NOW}, lookups = 0, due_ns = :now, settled_ns = NULL, unclear_ns = NULL,
        last_sent_ns = CASE WHEN {_LEAVES_NOW} THEN :now ELSE last_sent_ns END,
        error_kind = '', error_code = '', error_text = '', error_since_ns = NULL, error_count = 0, passed = 0,
        released = 0
    WHERE id = :id RETURNING {COLUMNS}
"""  # noqa: S608 - constants of this module
#: Only the oldest open posting of a lane is ever sent, whoever asks.
IS_HEAD: Final = "AND head = 1"
_IS_DUE_HEAD: Final = f"{IS_HEAD} AND due_ns <= :now"
_STATE_BY_ID: Final = "SELECT state FROM outbox WHERE id = ?"
_AT: Final = f"SELECT {COLUMNS} FROM outbox WHERE id = ?"  # noqa: S608 - constants


class Leaving(NamedTuple):
    """What is fixed when a posting becomes *sending*: its message where none is, the steps behind it, the baseline."""

    message: Message | None
    more: Sequence[Message] = ()
    baseline: bytes | None = None


async def begin(
    connection: aiosqlite.Connection,
    entry_id: int,
    leaving: Leaving,
    now_ns: int,
    *,
    allowed: Sequence[OutboxState] = SENT_FROM,
    when_due: bool = False,
) -> OutboxEntry | None:
    """It becomes *sending*. None: ``when_due`` and not its turn now. Raises OutboxError where it must not be sent."""
    body, content_type, name = leaving.message or (None, None, None)
    values = {"id": entry_id, "now": now_ns, "body": body, "content_type": content_type, "name": name,
              "steps": 1 + len(leaving.more)}  # fmt: skip
    also = _IS_DUE_HEAD if when_due else IS_HEAD
    rows = list(await connection.execute_fetchall(updating(_BEGIN_SEND, allowed, also), values))
    if not rows and when_due:
        return None
    if not rows:
        raise await refused(connection, entry_id, allowed, "be sent")
    entry = entry_of(tuple(rows[0]))
    if entry.steps > 1 or leaving.baseline is not None:
        await steps.begun(connection, entry, leaving.more, leaving.baseline, now_ns)
    return entry


async def settle(
    connection: aiosqlite.Connection,
    entry_id: int,
    settlement: Settlement,
    now_ns: int,
    answer: Answer | None = None,
    *,
    passed: bool = False,
    step: int | None = None,
) -> OutboxEntry:
    """How its send or look-up ended, that of this step. Raises OutboxError where state or step do not allow it."""
    allowed = SETTLED_FROM.get(settlement.state, ())
    reference = clean(settlement.reference, REFERENCE_MAX_CHARS)
    values = {
        "id": entry_id,
        "now": now_ns,
        "state": settlement.state.value,
        "due": settlement.due_ns,
        "reference": reference,
        "kind": settlement.error_kind,
        "code": clean(settlement.error_code, ERROR_CODE_MAX_CHARS),
        "text": clean(settlement.error_text, ERROR_TEXT_MAX_CHARS),
        "passed": passed,
        "step": step,
    }
    rows = list(await connection.execute_fetchall(updating(_SETTLE, allowed, _OF_STEP), values))
    if not rows:
        raise await refused(connection, entry_id, allowed, f"become {settlement.state}")
    entry = entry_of(tuple(rows[0]))
    if entry.steps > 1:
        await _step_settled(connection, entry, reference, now_ns, _goods_error(settlement))
    if answer is not None:
        await outbox_answers.keep(connection, entry, answer, now_ns)
    return entry


async def next_step(
    connection: aiosqlite.Connection,
    entry_id: int,
    settlement: Settlement,
    now_ns: int,
    *,
    go: bool,
    step: int | None = None,
) -> OutboxEntry:
    """The step that is due (it must be this one) is over, and the next one is due: *sending* with ``go``, else ready.

    Uncertain where its message may have left before. Raises OutboxError where there is no next one, or the state does
    not allow it.
    """
    rows = list(await connection.execute_fetchall(_AT, (entry_id,)))
    entry = entry_of(tuple(rows[0])) if rows else None
    is_there = entry is not None and entry.state in SETTLED_FROM[settlement.state] and entry.step < entry.steps - 1
    if entry is None or not is_there or step not in (None, entry.step):
        raise await refused(connection, entry_id, SETTLED_FROM[settlement.state], "go on to its next step")
    return await step_told(connection, entry, settlement, now_ns, go=go)


async def step_told(
    connection: aiosqlite.Connection, entry: OutboxEntry, settlement: Settlement, now_ns: int, *, go: bool = False
) -> OutboxEntry:
    """The same for a posting that was looked at: its state allows it, and there is a next step."""
    reference = clean(settlement.reference, REFERENCE_MAX_CHARS)
    await steps.done(connection, entry, settlement.state.value, reference, now_ns, _goods_error(settlement))
    rows = list(await connection.execute_fetchall(_NEXT_STEP, {"id": entry.id, "now": now_ns, "go": go}))
    entry = entry_of(tuple(rows[0]))
    if entry.state is OutboxState.SENDING:
        await steps.begun(connection, entry, (), None, now_ns)
    return entry


def updating(change: str, allowed: Sequence[OutboxState], also: str) -> str:
    """The change of one posting in one of these states; its id is the value ``id``."""
    return f"UPDATE outbox SET {change} WHERE id = :id AND state IN ({listed(allowed)}) {also} RETURNING {COLUMNS}"  # noqa: S608 - constants


def listed(states: Sequence[OutboxState]) -> str:
    """States as SQL has them."""
    return ", ".join(f"'{state}'" for state in states)


def not_allowed(which: str, found: Sequence[Any], allowed: Sequence[OutboxState], verb: str) -> OutboxError:
    """Why nothing changed; ``found`` are rows with the state."""
    if not found:
        return OutboxError(f"outbox, {which}: there is no such posting")
    if all(state in allowed for (state,) in found):
        text = f"outbox, {which}: cannot {verb}; allowed: the oldest open one of its lane"
        return OutboxError(text, found="behind others", allowed="the oldest open one of its lane")
    states, right = ", ".join(sorted({str(state) for (state,) in found})), ", ".join(allowed)
    text = f"outbox, {which}: is {states} and cannot {verb}; allowed from: {right}"
    return OutboxError(text, found=states, allowed=right)


async def refused(
    connection: aiosqlite.Connection, entry_id: int, allowed: Sequence[OutboxState], verb: str
) -> OutboxError:
    """Why the posting of this id did not change."""
    found = list(await connection.execute_fetchall(_STATE_BY_ID, (entry_id,)))
    return not_allowed(f"id {entry_id}", [tuple(one) for one in found], allowed, verb)


def _goods_error(settlement: Settlement) -> str:
    """Why material of what is booked is not, "" where it is."""
    return clean(settlement.error_text, ERROR_TEXT_MAX_CHARS) if settlement.error_kind == GOODS_ERROR else ""


async def _step_settled(
    connection: aiosqlite.Connection, entry: OutboxEntry, reference: str, now_ns: int, goods_error: str
) -> None:
    if entry.state is OutboxState.ACCEPTED:
        await steps.accepted(connection, entry, reference)
    elif entry.state in THERE:
        await steps.done(connection, entry, entry.state.value, reference, now_ns, goods_error)
        await steps.join(connection, entry.id, REFERENCE_MAX_CHARS, now_ns)
