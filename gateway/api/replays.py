"""What was decided under which Idempotency-Key, so that the same decision sent twice is taken once. Bounded.

In memory, and in the database: the key goes with its decision (``work_unit/runner.py``), the answer before anybody is
told of it. So a restart changes no answer that was given. A key belongs to one user: nobody learns of another's. Runs
and decides nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from buffer import replays
from buffer.replays import KeptAnswer, TakenKey
from gateway.api.problem import refuse
from gateway.api.reply import Reply, reply
from gateway.core.duration import NS_PER_UNIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from buffer.store import Store

#: Of one user; a key is never forgotten before its time, so more decisions are refused until then.
KEYS_PER_USER_MAX: Final = 1000
#: Of all users together.
KEYS_MAX: Final = 8000
NS_PER_S: Final = NS_PER_UNIT["s"]


class _Kept(NamedTuple):
    digest: bytes
    at_ns: int
    reply: asyncio.Future[Reply]


#: Where the gateway ended between a decision and its answer: nobody was told of it, and it was done.
_DONE_UNTOLD: Final = "it was done or refused right before the gateway ended; look at the machine"


class Replays:
    """The keys of the last minutes, oldest first."""

    def __init__(self, keep_ns: int, now_ns: Callable[[], int], store: Store | None = None) -> None:
        self._keep_ns = keep_ns
        self._now_ns = now_ns
        self._store = store
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._of_user: dict[str, int] = {}

    async def recall(self) -> None:
        """What is kept in the database, after a restart. Raises StoreError."""
        if self._store is None:
            return
        for one in await replays.load(self._store, self._now_ns() - self._keep_ns):
            known: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            untold = reply({"done": _DONE_UNTOLD})
            known.set_result(untold if one.status is None else Reply(one.status, one.body, one.media_type))
            self._remember(one.taken, known)

    async def answered(self, taken: TakenKey, answer: Reply) -> None:
        """Keep an answer before it is given. Raises StoreError."""
        if self._store is not None:
            kept = KeptAnswer(taken, answer.status, answer.media_type, answer.body)
            await replays.answered(self._store, kept, before_ns=self._now_ns() - self._keep_ns)

    def found(self, user: str, key: str, digest: bytes) -> asyncio.Future[Reply] | None:
        """The answer that was given or is being made under this key; None where it is new.

        Raises ProblemError: the key stands for another request, or there are too many.
        """
        self._forget_old()
        kept = self._kept.get((user, key))
        if kept is None:
            if self._of_user.get(user, 0) >= KEYS_PER_USER_MAX or len(self._kept) >= KEYS_MAX:
                raise self._too_many()
            return None
        if kept.digest != digest:
            text = "Idempotency-Key: found one that was used for another request; take a new key for each decision"
            raise refuse("IDEMPOTENCY_KEY_REUSED", text)
        return kept.reply

    def taken(self, user: str, key: str, digest: bytes) -> TakenKey:
        """A key of now."""
        return TakenKey(user, key, digest, self._now_ns())

    def keep(self, taken: TakenKey, answer: asyncio.Future[Reply]) -> None:
        """From now on this key stands for that answer."""
        self._remember(taken, answer)

    def _remember(self, taken: TakenKey, answer: asyncio.Future[Reply]) -> None:
        self._kept[taken.user, taken.key] = _Kept(taken.digest, taken.at_ns, answer)
        self._of_user[taken.user] = self._of_user.get(taken.user, 0) + 1

    def forget(self, user: str, key: str) -> None:
        """Nothing was decided under this key: it may be tried again."""
        if self._kept.pop((user, key), None) is not None:
            self._count_down(user)

    def _forget_old(self) -> None:
        before_ns = self._now_ns() - self._keep_ns
        while self._kept:
            (user, _key), kept = next(iter(self._kept.items()))
            if kept.at_ns > before_ns or not kept.reply.done():
                return
            self._kept.popitem(last=False)
            self._count_down(user)

    def _count_down(self, user: str) -> None:
        self._of_user[user] -= 1
        if not self._of_user[user]:
            del self._of_user[user]

    def _too_many(self) -> Exception:
        oldest_ns = next(iter(self._kept.values())).at_ns
        wait_s = max((oldest_ns + self._keep_ns - self._now_ns()) // NS_PER_S, 0) + 1
        return refuse(
            "TOO_MANY_REQUESTS",
            f"decisions that are remembered: found {KEYS_PER_USER_MAX} of one user or {KEYS_MAX} in all, which is the "
            "limit",
            todo="come again when the oldest are forgotten (api.idempotency_keep)",
            retry_after_s=wait_s,
        )
