"""A trace of a lot through 100,000 links by the HTTP API, while the gateway counts: how long, and who waits for it.

``python -P tests/benchmarks/bench_trace.py [--seconds S] [--quick] [--json]``. The daemon of ``bench_api.py``, into
whose database links of one raw lot are written: into parts, and each part into many products. One client asks for the
trace, page after page, another one for ``/v1/me`` every 5 ms: its slowest answer is the longest pause of the event loop
that anybody sees. No speed is asserted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sqlite3
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bench_api import MACHINES, ORDERS, WARM_UP_S, Screen, _counted, _open_orders, configuration, quantile, token_of
from rig import Rig, RigError, free_port, until

PROBE_PAUSE_S = 0.005
PARTS, PARTS_EACH = 1_000, 11
PRODUCTS, QUICK_PRODUCTS = 9_000, 900
SQL = "INSERT INTO genealogy VALUES (NULL, 'lot', ?, ?, 'lot', ?, ?, '5/2', 'KG', ?, 1, 2, 'exact')"


def rows(products: int) -> list[tuple[str, str, str, str, str]]:
    """Parent and child of each link: RAW-1 went into each part, and each product is made of several parts."""
    parts = [("RAW", "RAW-1", "PART", f"PT-{one}", f"A{one}/0010/M-1") for one in range(PARTS)]
    return parts + [
        ("PART", f"PT-{(one * 7 + which * 83) % PARTS}", "ART", f"P-{one}", f"B{one}/0010/M-2")
        for one in range(products)
        for which in range(PARTS_EACH)
    ]


class Asking(threading.Thread):
    """Asks for ``/v1/me``, again and again."""

    def __init__(self, port: int, token: str) -> None:
        super().__init__(daemon=True)
        self._screen = Screen(port, token)
        self._ended = threading.Event()
        self.took: list[float] = []

    def run(self) -> None:
        """Until it is ended."""
        while not self._ended.wait(PROBE_PAUSE_S):
            self.took.append(self._screen.ask("GET", "/v1/me")[2])

    def end(self) -> dict[str, float]:
        """Milliseconds: median, p99 and the longest."""
        self._ended.set()
        self.join()
        self._screen.close()
        return {
            "p50": round(quantile(self.took, 0.5), 2),
            "p99": round(quantile(self.took, 0.99), 2),
            "max": round(max(self.took), 2),
        }


def run(seconds: float, warm_up_s: float, products: int) -> dict:
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
        token = token_of(config, "tracer", "supervisor")
        links = rows(products)
        (database,) = (config.parent / "state").glob("*.db")
        with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection, connection:
            connection.executemany(SQL, links)
        time.sleep(warm_up_s)
        idle = Asking(port, token)
        idle.start()
        time.sleep(seconds)
        alone = idle.end()
        counted, memory = _counted(port, token), daemon.memory()
        found: dict = {"links": len(links), "rss_mb_before": round(memory.rss, 1), "alone": alone}
        beside = Asking(port, token)
        beside.start()
        began_s = time.monotonic()
        for name, number, direction in (("forward", "RAW-1", "forward"), ("backward", "P-1", "backward")):
            found[name] = _traced(port, token, number, direction)
        length_s = time.monotonic() - began_s
        found["beside"] = beside.end()
        found["seconds"], found["pieces"] = round(length_s, 1), _counted(port, token) - counted
        found["rss_mb_after"] = round(daemon.memory().rss, 1)
        daemon.check()
    return found


def _traced(port: int, token: str, number: str, direction: str) -> dict:
    took, reached, links, skip = [], 0, 0, 0
    with contextlib.closing(Screen(port, token)) as screen:
        while skip is not None:
            path = f"/v1/lots/trace?number={number}&direction={direction}&skip={skip}"
            status, answer, took_ms = screen.ask("GET", path)
            if status != 200:
                raise RigError(f"{path}: answered {status}: {answer}")
            (trace,) = answer["traces"]
            took.append(took_ms)
            reached, links, skip = reached + len(trace["reached"]), links + len(trace["links"]), trace["next"]
    more = {"left_out": trace["links_left_out"], "complete": trace["complete"]}
    return {"reached": reached, "links": links, **more, "pages": len(took), "page_ms_max": round(max(took), 1)}


def table(found: dict) -> str:
    """For a person."""
    lines = [f"trace over {found['links']} links, counting: {found['pieces']} pieces in {found['seconds']} s"]
    for name in ("forward", "backward"):
        one = found[name]
        lines.append(
            f"{name:<9} {one['reached']} reached, {one['links']} links told in {one['pages']} pages, the slowest "
            f"{one['page_ms_max']} ms; all of it: {one['complete']}"
        )
    for name in ("alone", "beside"):
        one = found[name]
        lines.append(f"other calls {name:<7} ms: p50 {one['p50']}, p99 {one['p99']}, longest {one['max']}")
    lines.append(f"RSS MB: {found['rss_mb_before']} before, {found['rss_mb_after']} after")
    return "\n".join(lines)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="length of the measurement without a trace (5)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the links: shows that it works, and no more")
    parser.add_argument("--json", action="store_true", help="print for programs")
    # The runner gives all scripts the same options.
    parser.add_argument("--rounds", type=int, default=1, help=argparse.SUPPRESS)
    args = parser.parse_args()
    try:
        found = run(1.0, 0.0, QUICK_PRODUCTS) if args.quick else run(args.seconds, WARM_UP_S, PRODUCTS)
    except RigError as error:
        print(f"bench_trace: {error}", file=sys.stderr)  # noqa: T201 - a script
        return 1
    print(json.dumps(found) if args.json else table(found))  # noqa: T201 - a script
    return 0


if __name__ == "__main__":
    sys.exit(main())
