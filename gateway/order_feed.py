"""Polls one connector for orders and hands each operation to the work unit that performs it.

At least once: the cursor of a page is committed after all its orders are. What a work unit makes of an order (also of
one it already knows) is the core's business.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from buffer import catching_up
from buffer.errors import StoreError
from gateway.connectors.base import RefusedOrder
from gateway.core.duration import NS_PER_S, Duration
from gateway.core.foreign_text import clean, is_clean
from gateway.core.model import JobOrder, JobOrderState, Notice, OrderReceived
from gateway.core.orders.job_image import image_of, with_image
from gateway.core.orders.order_image import digest_of

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from buffer.store import Store
    from gateway.connectors.base import Connector, OrderPage
    from gateway.core.model import Output, ProductionOrder

REFUSED_MAX: Final = 100
BACKOFF_MIN_NS: Final = Duration("1 s")
DOUBLINGS_MAX: Final = 32
STAMP_CHARS: Final = 12
#: Notices of a work unit that mean: this image of the order was not taken.
REFUSALS: Final = frozenset({"ORDER_CHANGE_REJECTED", "JOB_QUEUE_FULL"})
#: An operation that is one of these is left as it is, also where its order is sent without it.
OVER: Final = frozenset(
    {
        JobOrderState.COMPLETED,
        JobOrderState.CLOSED,
        JobOrderState.CANCELLED,
        JobOrderState.SPLIT,
        JobOrderState.MERGED,
    }
)
#: Fence around one fetch; connectors have their own, shorter limits.
FETCH_TIMEOUT_NS: Final = Duration("2 min")
#: How its trouble begins while it cannot ask.
FETCH_FAILS: Final = "orders cannot be fetched"

_log = structlog.get_logger(__name__)


async def _nobody_hears(_order: str, _revision: int, _reasons: tuple[str, ...]) -> None:
    """The target takes no answers."""


class QueueFullError(Exception):
    """A page could not be taken whole: its cursor must not be kept."""


class OrderFeedStatus(NamedTuple):
    """How the feed goes. Times are nanoseconds UTC, None where it has not happened.

    ``received`` counts operations handed over, ``elsewhere`` those whose work center is none of this gateway's.
    ``refused`` are the last orders that could not be taken, at most ``REFUSED_MAX``.
    """

    name: str
    up: bool | None
    since_ns: int
    last_poll_ns: int | None
    next_poll_ns: int | None
    last_error: str
    received: int
    elsewhere: int
    refused: tuple[RefusedOrder, ...]


class OrderFeed:
    """The orders of one connector; ``run`` it in a task.

    ``work_units`` maps a work center to a work unit; ``submit`` returns when the input is committed, ``answer`` (order,
    revision, reasons) when the refusal of an order that reached no work unit is. ``answers_elsewhere``: an order of
    which nothing is made here is refused, and not another gateway's. The connector is opened before and closed after
    by the caller.
    """

    def __init__(
        self,
        *,
        name: str,
        connector: Connector,
        store: Store,
        work_units: Mapping[str, str],
        submit: Callable[[str, OrderReceived], Awaitable[tuple[Output, ...]]],
        now_ns: Callable[[], int],
        poll_ns: int,
        backoff_max_ns: int,
        rng: random.Random,
        answer: Callable[[str, int, tuple[str, ...]], Awaitable[None]] = _nobody_hears,
        answers_elsewhere: bool = True,
    ) -> None:
        self._name = name
        self._answer = answer
        self._answers_elsewhere = answers_elsewhere
        self._connector = connector
        self._store = store
        self._work_units = work_units
        self._submit = submit
        self._now_ns = now_ns
        self._poll_ns = poll_ns
        self._backoff_max_ns = backoff_max_ns
        self._rng = rng
        self._wake = asyncio.Event()
        self._failures = 0
        self._full = False
        self._caught_up = False
        # A cursor is good for the work centers it was made with: another one has never been asked for its orders.
        self._stamp = hashlib.sha256("\0".join(sorted(work_units)).encode()).hexdigest()[:STAMP_CHARS] + " "
        self._refused: deque[RefusedOrder] = deque(maxlen=REFUSED_MAX)
        self._status = OrderFeedStatus(name, None, now_ns(), None, None, "", 0, 0, ())

    @property
    def status(self) -> OrderFeedStatus:
        """How the feed goes."""
        return self._status

    def troubles(self) -> tuple[str, ...]:
        """What a person should see now: why orders cannot be fetched, and which were refused."""
        link = (f"{FETCH_FAILS}: {self._status.last_error}",) if self._failures else ()
        refused = (f"order refused: {one.place}: {'; '.join(one.reasons)}" for one in self._refused)
        return (*link, *refused)

    def wake(self) -> None:
        """Poll now."""
        self._wake.set()

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            self._wake.clear()
            more = False
            try:
                more = await self._poll()
                if not more and not self._caught_up:
                    await catching_up.done(self._store, self._name)
                    self._caught_up = True
                self._went(up=True, error="")
            except StoreError as error:
                self._went(up=self._status.up, error=f"the buffer: {error}")
            except Exception as error:  # noqa: BLE001 - whatever a connector raises, the feed tries again later
                text = clean(str(error)) or f"the connector failed: {error!r}"
                self._went(up=False, error=text)
            wait_ns = 0 if more else self._wait_ns()
            self._publish(next_poll_ns=self._now_ns() + wait_ns)
            await self._rest(wait_ns)

    async def _poll(self) -> bool:
        """One page; returns whether another may follow at once."""
        cursor = self._own(await self._store.cursor(self._name))
        self._full = False
        async with asyncio.timeout(FETCH_TIMEOUT_NS / NS_PER_S):
            page = await self._connector.fetch_orders(cursor)
        for refused in page.refused:
            self._forget(refused.orders)
            await self._refuse(refused)
        for order in page.orders:
            if all(map(is_clean, _texts(order))):
                await self._hand_over(order)
            else:  # it could be neither stored nor sent back
                reasons = ("a text of it holds control or broken characters; send it without them",)
                orders = ((order.order, order.revision),) if is_clean(order.order) else ()
                await self._refuse(RefusedOrder(clean(order.order), reasons, orders))
        if self._full:
            raise QueueFullError("a work unit has too many open orders; the rest is asked for again later")
        if page.cursor == cursor:
            return False
        await self._store.set_cursor(self._name, f"{self._stamp}{page.cursor}")
        return _holds_something(page)

    def _own(self, stored: str) -> str:
        return stored.removeprefix(self._stamp) if stored.startswith(self._stamp) else ""

    async def _hand_over(self, order: ProductionOrder) -> None:
        is_ours = False
        self._forget(((order.order, order.revision),))
        for job in (*await self._left_out(order), *job_orders(order, self._name)):
            known = await self._store.job_record(job.order, job.operation)
            is_ours = is_ours or known is not None or job.work_center in self._work_units
            if known is not None and known.job.work_center != job.work_center:
                holder = self._work_units.get(known.job.work_center)
                if holder is not None:  # it must give the operation up before another may take it
                    await self._submit_one(holder, job)
            unit = self._work_units.get(job.work_center)
            if unit is None:
                self._status = self._status._replace(elsewhere=self._status.elsewhere + 1)
            else:
                await self._submit_one(unit, job)
        if not is_ours and not order.cancelled and self._answers_elsewhere:
            found = ", ".join(dict.fromkeys(one.work_center for one in order.operations))
            reason = f"operations[].work_center: found {found}, allowed: one of {', '.join(self._work_units)}"
            place = f"{self._name}: order {order.order}"
            await self._refuse(RefusedOrder(place, (reason,), ((order.order, order.revision),)))

    async def _left_out(self, order: ProductionOrder) -> list[JobOrder]:
        """What is open here of an order that is sent without it: its machine hears of it first.

        Were it the last, a restart in between would leave it to a machine for ever: by then no image names it.
        """
        named = {one.operation for one in order.operations}
        image = image_of(order, self._name)
        found: list[JobOrder] = []
        for record in await self._store.records_of(order.order):
            job = record.job
            is_here = job.work_center in self._work_units and job.source == self._name and job.image is not None
            if is_here and job.operation not in named and record.state not in OVER:
                told = job._replace(revision=order.revision, cancelled=order.cancelled)
                found.append(with_image(told, image))
        return found

    async def _submit_one(self, unit: str, job: JobOrder) -> None:
        place = f"{self._name}: order {job.order}, operation {job.operation}"
        try:
            outputs = await self._submit(unit, OrderReceived(self._now_ns(), job))
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - one bad order must not stop the others
            reason = f"{unit} cannot take it: {clean(repr(error))}"
            await self._refuse(RefusedOrder(place, (reason,), ((job.order, job.revision),)))
            return
        self._status = self._status._replace(received=self._status.received + 1)
        for output in outputs:
            if isinstance(output, Notice) and output.code in REFUSALS:
                facts = dict(output.detail)
                # A work unit answers for itself; what has no room is asked for again.
                await self._refuse(RefusedOrder(place, (f"{unit}: {output.code}: {facts.get('reason', facts)}",)))
                self._full = self._full or output.code == "JOB_QUEUE_FULL"

    def _forget(self, orders: Iterable[tuple[str, int]]) -> None:
        """These orders are heard of anew: what was wrong with them may have been put right."""
        names = {order for order, _ in orders}
        for former in [one for one in self._refused if names & {order for order, _ in one.orders}]:
            self._refused.remove(former)

    async def _refuse(self, refused: RefusedOrder) -> None:
        for order, revision in refused.orders:
            await self._answer(order, revision, refused.reasons)
        if refused in self._refused:
            self._refused.remove(refused)  # the same again: it moves to the end
        self._refused.append(refused)
        _log.warning("order refused", source=self._name, place=refused.place, reasons=list(refused.reasons))

    def _went(self, *, up: bool | None, error: str) -> None:
        now_ns = self._now_ns()
        self._failures = self._failures + 1 if error else 0
        since_ns = self._status.since_ns if up is self._status.up else now_ns
        last_error = error or self._status.last_error
        self._status = self._status._replace(up=up, since_ns=since_ns, last_poll_ns=now_ns, last_error=last_error)
        if error:
            _log.warning("orders cannot be fetched", source=self._name, error=error)

    def _wait_ns(self) -> int:
        if not self._failures:
            return self._poll_ns
        doubled_ns = BACKOFF_MIN_NS << min(self._failures - 1, DOUBLINGS_MAX)
        ceiling_ns = max(min(doubled_ns, self._backoff_max_ns), BACKOFF_MIN_NS)
        return self._rng.randint(BACKOFF_MIN_NS, ceiling_ns)

    async def _rest(self, wait_ns: int) -> None:
        try:
            async with asyncio.timeout(wait_ns / NS_PER_S):
                await self._wake.wait()
        except TimeoutError:
            return

    def _publish(self, *, next_poll_ns: int) -> None:
        self._status = self._status._replace(next_poll_ns=next_poll_ns, refused=tuple(self._refused))


def _texts(order: ProductionOrder) -> Iterator[str]:
    yield from (order.order, order.product, order.product_revision, order.uom, *order.echo, *order.echo.values())
    for operation in order.operations:
        yield from (operation.operation, operation.sequence, operation.work_center)


def job_orders(order: ProductionOrder, source: str) -> Iterator[JobOrder]:
    """The operations of an order, each as the job order of one work unit."""
    echo = tuple(sorted(order.echo.items()))
    image = image_of(order, source)
    digest = digest_of(image)
    for operation in order.operations:
        yield JobOrder(
            order=order.order,
            operation=operation.operation,
            sequence=operation.sequence,
            revision=order.revision,
            work_center=operation.work_center,
            product=order.product,
            product_revision=order.product_revision,
            uom=order.uom,
            quantity=operation.quantity,
            sequence_no=order.sequence_no,
            std_cycle_ns=operation.std_cycle_ns,
            planned_start_ns=order.planned_start_ns,
            planned_end_ns=order.planned_end_ns,
            cancelled=order.cancelled,
            source=source,
            echo=echo,
            image_digest=digest,
            image=image,
        )


def _holds_something(page: OrderPage) -> bool:
    return bool(page.orders or page.refused)
