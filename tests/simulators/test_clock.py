"""Virtual time: nothing waits, every timer fires at its nanosecond, and the real clock is not touched."""

from __future__ import annotations

import asyncio
import time

from simulators import clock

S = 1_000_000_000
ORIGIN = 1_780_027_200 * S


def test_a_day_passes_at_once_and_to_the_nanosecond():
    async def day():
        seen = []
        for at_ns in (1, 2_400_000_000, 86_400 * S - 1, 86_400 * S):
            await clock.sleep_until_ns(at_ns)
            seen.append((clock.monotonic_ns(), clock.wall_ns()))
        return seen

    began_s = time.monotonic()
    seen = clock.run_virtually(day(), wall_origin_ns=ORIGIN)
    assert time.monotonic() - began_s < 10
    expected = (1, 2_400_000_000, 86_400 * S - 1, 86_400 * S)
    assert seen == [(at_ns, ORIGIN + at_ns) for at_ns in expected]


def test_timers_fire_in_their_order_and_timeouts_are_virtual():
    async def race():
        order = []

        async def after(seconds):
            await asyncio.sleep(seconds)
            order.append((seconds, clock.monotonic_s()))

        late = asyncio.create_task(after(3600.5))
        await asyncio.gather(after(2), after(0.25), after(1))
        try:
            await asyncio.wait_for(late, 10)
        except TimeoutError:
            order.append("timeout")
        return order, clock.monotonic_s()

    order, end_s = clock.run_virtually(race())
    assert order == [(0.25, 0.25), (1, 1.0), (2, 2.0), "timeout"]
    assert end_s == 12.0


def test_what_is_ready_comes_before_time_passes():
    async def talk():
        heard = asyncio.get_running_loop().create_future()

        async def serve(reader, writer):
            heard.set_result((await reader.readline(), clock.monotonic_ns()))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            writer.write(b"hello\n")
            await writer.drain()
            said = await heard
            writer.close()
            await writer.wait_closed()
        return said

    assert clock.run_virtually(talk()) == (b"hello\n", 0)


def test_quiet_comes_after_everything_else_of_the_same_instant():
    async def instant():
        order = []

        async def long_way():
            await clock.sleep_until_ns(S)
            for step in range(5):
                order.append(step)
                await asyncio.sleep(0)

        async def looks(turn):
            await clock.sleep_until_ns(S)
            await clock.quiet(turn)
            order.append((f"turn {turn}", clock.monotonic_ns()))
            await asyncio.sleep(0)
            order.append(f"after turn {turn}")

        await asyncio.gather(looks(1), long_way(), looks(0))
        return order

    first, second = ("turn 0", S), ("turn 1", S)
    assert clock.run_virtually(instant()) == [0, 1, 2, 3, 4, first, "after turn 0", second, "after turn 1"]


async def test_outside_of_it_the_clocks_are_the_computers():
    before_ns = time.monotonic_ns()
    assert before_ns <= clock.monotonic_ns() <= time.monotonic_ns()
    assert abs(clock.wall_ns() - time.time_ns()) < 60 * S
    await clock.sleep_until_ns(before_ns + 1_000_000)
    assert time.monotonic_ns() >= before_ns + 1_000_000
