"""The HTTP API while the gateway counts: how long each row of its table takes. 50 open orders, 8 machines, 200 signals.

``python -P tests/benchmarks/bench_api.py [--seconds S] [--quick] [--json]``. One client with one connection asks, call
after call without a pause, machine after machine in the name of another person; four more ask for all machines twice a
second. The daemon reads 8 Modbus devices of 25 signals every 100 ms; all of them change, one of each is counted and
confirmed piece by piece. No speed is asserted. Beside
the clock stands the processor time that the daemon used meanwhile: it says what a call costs on a machine that others
use. Needs Linux; the broker of the other benchmarks is started and not used.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from api_calls import FIRST_ORDER, MACHINES, ORDER_PIECES, PASSPHRASE, decisions, orders_of, reads
from rig import HOST, Rig, RigError, free_port, until

from gateway.access.passphrase import hashed

if TYPE_CHECKING:
    from collections.abc import Callable

SIGNALS, ORDERS = 25, 50
AIM_MS = 50.0
WARM_UP_S = 6.4  # the daemon goes through its memory once, 5 s after its start
QUICK_S = 3.0  # a piece is made in 2.4 s
OTHER_SCREENS, SCREEN_PAUSE_S = 4, 0.5
SOURCE = """\
  plc{number}:
    driver: modbus
    host: {host}
    port: {port}
    scan: 100 ms
    signals:
{signals}
"""
WORK_UNIT = """\
  M-{number}:
    work_center: WC-{number}
    ideal_cycle: 2.4 s
    counters: [{{ mode: counter, signal: plc{number}.s24, modulus: 65536, max_rate: 40 /min }}]
    state: {{ stop_detect: 10 s }}
    orders: {{ choose: command }}
    confirm: {{ every_pieces: 2, min_interval: 0 s }}
    work: {{ lots: {{ feeders: {{ bowl: {{ item: RING, required: false }} }} }} }}
"""
#: Of all who decide: one hash takes as long as ten calls.
_SIGNS = hashed(PASSPHRASE, "nobody")
_KEYS = (f"bench-{number}" for number in itertools.count())


class Screen:
    """One connection with its token."""

    def __init__(self, port: int, token: str) -> None:
        self._link = http.client.HTTPConnection(HOST, port, timeout=30)
        self._token = token

    def ask(self, method: str, path: str, body: dict | None = None) -> tuple[int, dict, float]:
        """Status, answer, and milliseconds from the first byte sent to the last one received."""
        headers = {"Authorization": f"Bearer {self._token}"}
        if body is not None:
            headers |= {"Content-Type": "application/json", "Idempotency-Key": next(_KEYS)}
        began_ns = time.perf_counter_ns()
        self._link.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._link.getresponse()
        data = answer.read()
        took_ms = (time.perf_counter_ns() - began_ns) / 1e6
        return answer.status, json.loads(data), took_ms

    def close(self) -> None:
        """The next question opens it again."""
        self._link.close()


def configuration(home: Path, port: int, ports: list[int]) -> Path:
    """The daemon's file, with its folders and orders."""
    for name in ("orders", "confirmations"):
        (home / "erp" / name).mkdir(parents=True)
    rows = [f"{FIRST_ORDER + n};0010;WC-{n % MACHINES + 1};P;{ORDER_PIECES}" for n in range(ORDERS)]
    (home / "erp" / "orders" / "orders.csv").write_text(
        "\n".join(["order;operation;work_center;product;quantity", *rows, ""])
    )
    addresses = [*range(SIGNALS - 1), 49]
    signals = "\n".join(
        f"      s{index}: {{ table: holding, address: {address} }}" for index, address in enumerate(addresses)
    )
    numbered = list(enumerate(ports, 1))
    config = home / "linegate.yaml"
    config.write_text(
        f"gateway: {{ id: bench, plant: BENCH, timezone: UTC, state_dir: '{home / 'state'}' }}\nsources:\n"
        + "".join(SOURCE.format(number=number, host=HOST, port=one, signals=signals) for number, one in numbered)
        + "work_units:\n"
        + "".join(WORK_UNIT.format(number=number) for number, _ in numbered)
        + f"connectors:\n  erp: {{ connector: file, folder: '{home / 'erp'}', poll_orders: 200 ms }}\n"
        + f"api: {{ port: {port}, requests_per_minute: 60000, idempotency_keep: 10 s }}\n"
    )
    return config


def token_of(config: Path, name: str, role: str) -> str:
    """A user with a token, as linegate user makes them; a process for each would take a minute."""
    from gateway.access import tokens, users
    from gateway.access.access_file import AccessFile

    made, now_ns = [], time.time_ns()

    def how(directory):
        directory = users.add_user(directory, name, "Bench", [role], by="bench", at_ns=now_ns)
        if role == "supervisor":
            directory = users.set_passphrase(directory, name, _SIGNS, by="bench", at_ns=now_ns)
        made.append(tokens.issue(directory, name, role, days=1, by="bench", at_ns=now_ns))
        return made[-1].directory

    AccessFile(config.parent / "state").change(how)
    return made[-1].text


class Took(NamedTuple):
    """Milliseconds: of the clock on the client's side, and of the daemon's processor time, whatever else it did."""

    clock: float
    cpu: float


def measure(
    port: int, tokens: list[str], seconds: float, pid: int
) -> tuple[dict[str, list[Took]], dict[str, Counter[str]]]:
    """Each call, and how many were refused as things were, by status and guard."""
    took: dict[str, list[Took]] = {}
    refused: dict[str, Counter[str]] = {}
    splits = {number: orders_of(number)["splits"] for number in range(1, MACHINES + 1)}
    turns = dict.fromkeys(splits, 0)
    with contextlib.ExitStack() as stack:
        screens = [stack.enter_context(contextlib.closing(Screen(port, token))) for token in tokens]
        until_s = time.monotonic() + seconds
        for number in itertools.cycle(range(1, MACHINES + 1)):
            screen = screens[number - 1]
            asked = decisions(number, turns[number], splits[number], _newest(screen, orders_of(number)["runs"]))
            for name, method, path, body in [*reads(number), *asked]:
                before_ns = cpu_ns(pid)
                status, answer, took_ms = screen.ask(method, path, body)
                took.setdefault(name, []).append(Took(took_ms, (cpu_ns(pid) - before_ns) / 1e6))
                if status != http.client.OK:
                    refused.setdefault(name, Counter())[f"{status} {answer['guard']}"] += 1
                elif name == "POST /v1/orders/split":
                    splits[number], turns[number] = f"{splits[number]}-001", turns[number] + 1
            screen.close()  # it would be idle for longer than the gateway keeps it
            if time.monotonic() > until_s:
                return took, refused
    raise AssertionError


def cpu_ns(pid: int) -> int:
    """Processor time of all threads of a process: says what a call costs, also where others use the machine."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            total += int((thread / "schedstat").read_text().split()[0])
    return total


def _newest(screen: Screen, order: str) -> int:
    """The last confirmation of an order that the ERP has taken; 1 where there is none yet."""
    _status, found, _took_ms = screen.ask("GET", f"/v1/outbox?state=delivered&order={order}&limit=1")
    return found["postings"][0]["seq"] if found["postings"] else 1


def other_screens(port: int, token: str, ended: threading.Event) -> list[threading.Thread]:
    """Connections that ask for all machines now and then."""

    def run() -> None:
        with contextlib.closing(Screen(port, token)) as screen:
            while not ended.wait(SCREEN_PAUSE_S):
                screen.ask("GET", "/v1/work-units")

    threads = [threading.Thread(target=run, daemon=True) for _ in range(OTHER_SCREENS)]
    for thread in threads:
        thread.start()
    return threads


def quantile(values: list[float], part: float) -> float:
    """The smallest value that at least this part of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(-(-int(len(ordered) * part * 1000) // 1000) - 1, 0)]


def run(seconds: float, warm_up_s: float) -> dict:
    """The whole measurement. Raises RigError."""
    with Rig() as rig:
        ports = []
        for _ in range(MACHINES):
            said, _more = rig.device(str(Path(__file__).parent / "device_modbus.py"), "registers", "1")
            ports.append(said["ports"][0])
        port = free_port()
        config = configuration(rig.folder / "api", port, ports)
        daemon = rig.start("daemon", "-m", "gateway", "run", str(config))
        until(lambda: _open_orders(port, config) == ORDERS, "the orders are taken", daemon.check)
        tokens = [token_of(config, f"person-{number}", "supervisor") for number in range(1, MACHINES + 1)]
        token = token_of(config, "other-screens", "service")
        time.sleep(warm_up_s)
        idle = _pieces_while(port, token, lambda: time.sleep(seconds / 2))
        ended = threading.Event()
        threads = other_screens(port, token, ended)
        counted, cpu_s, began_s = _counted(port, token), daemon.cpu_s(), time.monotonic()
        took, refused = measure(port, tokens, seconds, daemon.pid)
        length_s, used_s = time.monotonic() - began_s, daemon.cpu_s() - cpu_s
        pieces = _counted(port, token) - counted
        ended.set()
        for thread in threads:
            thread.join()
        memory = daemon.memory()
        daemon.check()
    calls = {
        name: {
            "calls": len(one), **_of([call.clock for call in one], ""), **_of([call.cpu for call in one], "cpu_"),
        }
        for name, one in took.items()
    }  # fmt: skip
    return {
        "seconds": round(length_s, 1), "pieces": pieces, "pieces_per_minute": round(60 * pieces / length_s, 1),
        "idle_pieces_per_minute": idle, "cpu_percent": round(100 * used_s / length_s, 1),
        "rss_mb": round(memory.rss, 1), "calls": calls, "refused": refused,
    }  # fmt: skip


def _of(values: list[float], kind: str) -> dict[str, float]:
    found = {"p50": quantile(values, 0.5), "p99": quantile(values, 0.99), "max": max(values)}
    return {f"{kind}{name}": round(one, 2) for name, one in found.items()}


def _pieces_while(port: int, token: str, work: Callable[[], None]) -> float:
    """Pieces a minute while nobody asks."""
    before, began_s = _counted(port, token), time.monotonic()
    work()
    return round(60 * (_counted(port, token) - before) / (time.monotonic() - began_s), 1)


_TOKENS: dict[Path, str] = {}


def _open_orders(port: int, config: Path) -> int:
    with contextlib.suppress(OSError):
        if config not in _TOKENS:
            with contextlib.closing(Screen(port, "")) as screen:
                screen.ask("GET", "/health")
            _TOKENS[config] = token_of(config, "first", "operator")
        with contextlib.closing(Screen(port, _TOKENS[config])) as screen:
            return len(screen.ask("GET", "/v1/orders")[1]["orders"])
    return 0


def _counted(port: int, token: str) -> int:
    with contextlib.closing(Screen(port, token)) as screen:
        return sum(unit["counted_good"] for unit in screen.ask("GET", "/v1/work-units")[1]["work_units"])


def table(found: dict) -> str:
    """For a person."""
    lines = [
        f"HTTP API: {ORDERS} open orders, {MACHINES} machines, {MACHINES * SIGNALS} signals every 100 ms, counting",
        (
            f"{found['seconds']} s, {found['pieces']} pieces: {found['pieces_per_minute']} a minute, "
            f"{found['idle_pieces_per_minute']} while nobody asks; CPU {found['cpu_percent']} %, "
            f"RSS {found['rss_mb']} MB"
        ),
        f"{'ms':<45} {'calls':>6} {'p50':>8} {'p99':>8} {'max':>8} {'CPU p50':>8} {'p99':>8}",
    ]
    for name, one in found["calls"].items():
        late = "  above the aim" if one["p99"] > AIM_MS else ""
        guards = found["refused"].get(name, {})
        shown = f"  {sum(guards.values())} refused ({', '.join(guards)})" if guards else ""
        cpu = f"{one['cpu_p50']:>8} {one['cpu_p99']:>8}"
        clock = f"{one['p50']:>8} {one['p99']:>8} {one['max']:>8}"
        lines.append(f"{name:<45} {one['calls']:>6} {clock} {cpu}{late}{shown}")
    return "\n".join(lines)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the measurement (30)")
    parser.add_argument("--quick", action="store_true", help="three seconds: shows that it works, and no more")
    parser.add_argument("--json", action="store_true", help="print for programs")
    # The runner gives all scripts the same options.
    parser.add_argument("--rounds", type=int, default=1, help=argparse.SUPPRESS)
    args = parser.parse_args()
    try:
        found = run(QUICK_S, 0.0) if args.quick else run(args.seconds, WARM_UP_S)
    except RigError as error:
        print(f"bench_api: {error}", file=sys.stderr)  # noqa: T201 - a script
        return 1
    print(json.dumps(found) if args.json else table(found))  # noqa: T201 - a script
    return 0


if __name__ == "__main__":
    sys.exit(main())
