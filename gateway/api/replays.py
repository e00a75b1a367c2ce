"""What was decided under which Idempotency-Key, so that the same decision sent twice is taken once. In memory, bounded.

A restart of the gateway forgets it. A key belongs to one user: nobody learns of another's. Runs and decides nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.api.problem import refuse
from gateway.core.duration import NS_PER_UNIT

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from gateway.api.reply import Reply

#: Of one user; a key is never forgotten before its time, so more decisions are refused until then.
KEYS_PER_USER_MAX: Final = 1000
#: Of all users together.
KEYS_MAX: Final = 8000
NS_PER_S: Final = NS_PER_UNIT["s"]


class _Kept(NamedTuple):
    digest: bytes
    at_ns: int
    reply: asyncio.Task[Reply]


class Replays:
    """The keys of the last minutes, oldest first."""

    def __init__(self, keep_ns: int, now_ns: Callable[[], int]) -> None:
        self._keep_ns = keep_ns
        self._now_ns = now_ns
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._of_user: dict[str, int] = {}

    def found(self, user: str, key: str, digest: bytes) -> asyncio.Task[Reply] | None:
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

    def keep(self, user: str, key: str, digest: bytes, reply: asyncio.Task[Reply]) -> None:
        """From now on this key stands for that answer."""
        self._kept[user, key] = _Kept(digest, self._now_ns(), reply)
        self._of_user[user] = self._of_user.get(user, 0) + 1

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
