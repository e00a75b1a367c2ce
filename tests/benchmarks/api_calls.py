"""Every row of the API as a call of the benchmark: what one person asks and decides at one machine, turn after turn.

In an order in which most of it can be done. What needs a posting that failed, a stop that is over or an ERP that lost
something is refused: such a row is asked as far as it goes. Asks nothing itself and measures nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

#: Orders of one machine are this far apart.
MACHINES = 8
PASSPHRASE = "three words of bench"  # of all who decide
FIRST_ORDER = 70_000
ORDER_PIECES = 1_000_000
AT = "2026-03-27T06:00:00Z"
WHY = {"reason": "bench"}


class Call(NamedTuple):
    """One request. ``name``: its row, and what is special about this call."""

    name: str
    method: str
    path: str
    body: dict[str, Any] | None = None


def orders_of(number: int) -> dict[str, str]:
    """The six orders of a machine, each with one part to play."""
    names = ("runs", "rests", "first", "second", "splits", "ends")
    return {name: str(FIRST_ORDER + number - 1 + MACHINES * at) for at, name in enumerate(names)}


def reads(number: int) -> list[Call]:
    """What can be asked: name, and what stands in the path behind the row or in its place."""
    machine, order = f"M-{number}", orders_of(number)["runs"]
    listed = (
        ("/health", ""), ("/ready", ""), ("/v1/me", ""), ("/v1/status", ""), ("/v1/work-units", ""),
        ("/v1/work-units/{machine}", f"/v1/work-units/{machine}"), ("/v1/orders", ""),
        ("/v1/states", f"?machine={machine}"), ("/v1/states, sums", f"/v1/states?machine={machine}&sums=true"),
        ("/v1/stops", f"?machine={machine}"),
        ("/v1/work-units/{machine}/dispatch", f"/v1/work-units/{machine}/dispatch"),
        ("/v1/outbox", ""), ("/v1/outbox, 1000", "/v1/outbox?limit=1000"), ("/v1/outbox/{number}", "/v1/outbox/1"),
        ("/v1/changes", ""), ("/v1/unallocated", f"?machine={machine}"), ("/v1/holds", ""),
        ("/v1/lots/trace", "?number=L1&direction=forward"), ("/v1/lots/used", "?lot=L1"), ("/v1/audit", ""),
        ("/v1/audit, 1000", "/v1/audit?limit=1000"), ("/v1/audit/anchors", ""), ("/v1/days", ""), ("/v1/retention", ""),
        ("/v1/buffer", ""), ("/v1/reconciliation", ""), ("/v1/erp/probe", ""), ("/v1/erp/lookup", "?key=nobody"),
        ("/v1/erp/render", f"?order={order}"), ("/v1/erp/orders", "?target=erp"), ("/openapi.json", ""),
    )  # fmt: skip
    return [Call(f"GET {row}", "GET", path if path.startswith("/") else row + path) for row, path in listed]


def decisions(number: int, turn: int, splits: str, confirmation: int) -> list[Call]:
    """What can be decided, turn after turn: each can be done where the one before was.

    ``splits``: the order that is split this time; ``confirmation``: one of the running order that is not corrected yet.
    """
    machine = {"machine": f"M-{number}"}
    at = {name: {**machine, "order": order} for name, order in orders_of(number).items()}
    runs, rests, ends = at["runs"], at["rests"], at["ends"]
    signed = {"passphrase": PASSPHRASE}
    numbers = {"good": 1, "scrap": 0, "rework": 0}
    lot = {**machine, "feeder": "bowl", "lot": f"L{turn % 10}"}
    of_one = {"order": runs["order"], "operation": "0010"}
    leader = f"G-{number}-{turn}"
    held = {**machine, "scope": "product", "name": "NO-SUCH", **WHY}
    rows: list[tuple[str, dict[str, Any]]] = [
        ("orders/start", runs), ("setups/begin", machine), ("orders/complete-setup", runs), ("setups/begin", machine),
        ("setups/end", machine),
        ("stops/reason", {**machine, "reason": "NO_MATERIAL"}), ("orders/scrap", {**runs, "pieces": 1, **WHY}),
        ("orders/reclassify", {**runs, "pieces": 1, "from": "scrap", "to": "good", **WHY}),
        ("orders/rework", {**runs, "pieces": 1, **WHY}), ("undo", machine), ("orders/report", {**runs, "scrap": 1}),
        ("orders/confirm", runs), ("orders/inspect", {**runs, "verdict": "passed"}), ("orders/acknowledge-data", runs),
        ("orders/acknowledge-documents", runs), ("orders/approve-first-article", runs),
        ("orders/correct", {**runs, "confirmation": confirmation, **numbers, **WHY}),
        ("orders/reverse", {**runs, "confirmation": confirmation, **WHY}),
        ("orders/reject", {**runs, "confirmation": confirmation, **WHY}),
        ("orders/allocate", {**runs, "pieces": 1, **WHY}), ("orders/hold", {**rests, **WHY}),
        ("orders/release", {**rests, **WHY}), ("holds/set", held), ("holds/release", held),
        ("orders/material-missing", rests), ("orders/material-ready", rests), ("orders/revoke", rests),
        ("orders/dispatch", rests), ("orders/rush", rests), ("orders/interrupt", rests),
        ("orders/scan", {**machine, "order": f"{ends['order']}/0010"}), ("orders/finish", {**ends, **WHY}),
        ("orders/reopen", {**ends, **WHY}), ("orders/start", runs),
        ("orders/split", {**machine, "order": splits, "quantities": f"{ORDER_PIECES - 100 * (turn + 1)},100"}),
        ("orders/cancel", {**machine, "order": f"{splits}-002"}),
        ("orders/merge", {**machine, "leader": leader, "orders": f"{at['first']['order']},{at['second']['order']}"}),
        ("orders/unmerge", {**machine, "order": leader}), ("labour/in", {**machine, "person": "ann"}),
        ("labour/out", {**machine, "person": "ann"}), ("lots/mount", lot), ("lots/unmount", lot),
        ("lots/name", {**runs, "feeder": "bowl", "lot": "L1", **WHY}),
        ("lots/serial", {**machine, "serial": f"SN-{number}-{turn}"}),
        ("material/issue", {**runs, "item": "RING", "quantity": "1", "kind": "purge"}),
        ("stops/split", {**machine, "at": AT, **WHY}), ("stops/merge", {**machine, "at": AT, **WHY}),
        ("outbox/approve", {"which": 1, **WHY}), ("reconciliation/run", {}),
        ("reconciliation/accept", {**of_one, **WHY}), ("reconciliation/settle", {**of_one, **WHY}),
        ("reconciliation/resend", {"key": "nobody's", **WHY}),
        ("reconciliation/resend-from", {"target": "erp", **of_one, "from": 900, **WHY}), ("alerts/test", {}),
        ("orders/interrupt", runs),
    ]  # fmt: skip
    made = [Call(f"POST /v1/{row}", "POST", f"/v1/{row}", body) for row, body in rows]
    for verb in ("retry", "discard", "release", "booked", "edit", "post-today", "material-posted"):
        body = {**WHY, **({"reference": "1"} if verb == "booked" else numbers if verb == "edit" else {})}
        made.append(Call(f"POST /v1/outbox/{{number}}/{verb}", "POST", f"/v1/outbox/1/{verb}", body))
    made.append(Call("POST /v1/orders/hold", "POST", "/v1/orders/hold", {**rests, **WHY}))
    made.append(Call("POST /v1/orders/release, signed", "POST", "/v1/orders/release", {**rests, **WHY, **signed}))
    return made
