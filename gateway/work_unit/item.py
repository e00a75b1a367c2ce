"""What waits for a work unit, what became of it, and how the one who waits for that is told. Runs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.control import RequestError

if TYPE_CHECKING:
    import asyncio

    from buffer.replays import TakenKey
    from gateway.access.caller import Caller
    from gateway.core.audit.entry import EntryContent
    from gateway.core.model import Input, Output
    from gateway.core.work_unit import WorkUnit
    from gateway.work_unit.hold import Hold


class Item(NamedTuple):
    """One reading, one decision, or a hold. ``done``: of somebody who waits for what becomes of it.

    ``asked_ns``: when the counters were asked for before it, 0: they were not. ``due_ns``: when the change that they
    were asked for comes by itself.
    """

    inputs: tuple[Input, ...]
    done: asyncio.Future[tuple[Output, ...]] | None
    hold: Hold | None = None
    caller: Caller | None = None
    taken: TakenKey | None = None
    asked_ns: int = 0
    due_ns: int = 0


class Made(NamedTuple):
    """What became of one item, or of the time."""

    outputs: tuple[Output, ...] = ()
    audit: tuple[EntryContent, ...] = ()
    error: Exception | None = None
    inputs: tuple[Input, ...] = ()


def answer(item: Item, made: Made) -> None:
    """Tell the one who waits, once it is durable."""
    if item.caller is not None and made.audit:
        item.caller.told = True
    if item.done is not None and not item.done.done():
        if made.error is not None:
            item.done.set_exception(made.error)
        else:
            item.done.set_result(made.outputs)


def ended(unit: WorkUnit) -> RequestError:
    """What is said to whom nothing is decided for any more."""
    text = f"{unit.identity.machine} is not run any more: the gateway is stopping, or the machine was removed"
    return RequestError(text, guard="BUSY", what_to_do="say it again once the gateway runs; nothing was decided")


def cut_off(unit: WorkUnit) -> RequestError:
    """What is said to one whose step was being made when the work unit was stopped."""
    text = f"{unit.identity.machine} was stopped in the middle of it: it may be done, or not"
    return RequestError(text, guard="CUT_OFF", what_to_do="look at the machine once the gateway runs")
