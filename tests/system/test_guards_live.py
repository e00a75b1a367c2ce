"""Each guard of a start at a running gateway: it passes, passes and says so, or keeps the order from starting."""

from __future__ import annotations

import asyncio

from gateway.control import ControlError

MODES = ("off", "warn", "block")
GUARDS = ("hold", "predecessor", "material", "tool", "skill", "machine", "documents", "sequence")
#: What each order has against its start: fields of the order, and of its last operation; what is found and to be done.
CASES = {
    "G1 no active hold": ({"hold": "recall"}, {}, "hold recall", "releases the hold"),
    "G2 predecessor": ({}, {}, "operation 0010 DISPATCHED", "finish operation 0010 first"),
    "G3 material and lots": ({"material_available": False}, {}, "material not available", "order material-ready"),
    "G4 tool and recipe": ({}, {"recipe": "R-1"}, "recipe ", "set the machine up"),
    "G5 skill": ({}, {"required_skill": "weld"}, "nobody with a skill", "logs in"),
    "G6 machine free": ({}, {}, "running", "interrupt or finish that order first"),
    "G7 documents": ({"documents": ["WI-7"]}, {}, "WI-7 not acknowledged", "read and acknowledge"),
    "G8 sequence": ({}, {}, "before it", "start that one"),
}


def configured(document):
    """Three machines that differ in what their guards do."""
    signals = {mode: {"pin": number} for number, mode in enumerate(MODES, 17)}
    document["sources"] = {"pins": {"driver": "digital_io", "pins": "simulated", "signals": signals}}
    document["work_units"] = {
        f"M-{mode}": {
            "work_center": f"WC-{mode}",
            "counters": [{"mode": "pulse", "signal": f"pins.{mode}"}],
            "orders": {"choose": "command", "when_running": "refuse", "guards": dict.fromkeys(GUARDS, mode)},
            "state": {"setup": {"recipe_signal": f"pins.{mode}"}},
            "work": {"labour": {"skills": {"eve": ["weld"]}}},
        }
        for mode in MODES
    }


async def released(plant, mode):
    """One order for each guard, in the sequence in which they are tried, and one that runs or waits before it."""
    orders = [f"{mode}-{guard[:2]}" for guard in CASES]
    for number, guard in enumerate(CASES, 1):
        of_order, of_operation, *_ = CASES[guard]
        work = {"op": "0020", "work_center": f"WC-{mode}", "qty": "9", **of_operation}
        before = [work | {"op": "0010"}] if guard.startswith("G2") else []
        image = {"revision": 1, "product": {"id": "P", "uom": "PC"}, "qty": "9", "sequence_no": 10 * number}
        whole = image | of_order | {"order_id": f"{mode}-{guard[:2]}", "operations": [*before, work]}
        await asyncio.to_thread(plant._erp, "POST", "/orders", whole)
        if guard[:2] in ("G6", "G8"):
            plain = image | {"order_id": f"{mode}-{guard[:2]}-other", "sequence_no": 10 * number - 1}
            work = {"op": "0020", "work_center": f"WC-{mode}", "qty": "9"}
            await asyncio.to_thread(plant._erp, "POST", "/orders", plain | {"operations": [work]})
            orders.append(plain["order_id"])
    return orders


async def tried(plant, mode, guard):
    """What a start is answered with: done, with what it passed over, or the refusal."""
    machine, order = f"M-{mode}", f"{mode}-{guard[:2]}"
    one = {"machine": machine, "order": order, "operation": "0020", "who": "ann"}
    other = one | {"order": f"{order}-other"}
    if guard.startswith("G6"):
        await plant.ask("order.start", **other)
    try:
        answer, refusal = await plant.ask("order.start", **one), {}
    except ControlError as error:
        answer, refusal = "", error.parts
    for each in [one, other] if guard[:2] in ("G6", "G8") else [one]:
        await plant.ask("order.cancel", **each, reason="tried")
    if guard.startswith("G2"):
        await plant.ask("order.cancel", **one | {"operation": "0010"}, reason="tried")
    return answer, refusal


async def test_each_guard_does_at_a_running_gateway_what_its_setting_says(plant):
    configured(plant.document)
    await plant.start_erp()
    await plant.run()
    wanted = {order for mode in MODES for order in await released(plant, mode)}

    def all_there(view):
        return {job["order"] for unit in view["work_units"] for job in unit["queue"]} == wanted

    await plant.status_where(all_there, "all orders")
    for mode in MODES:
        for guard, (_, _, found, todo) in CASES.items():
            answer, refusal = await tried(plant, mode, guard)
            where = f"{guard} {mode}: {answer}{refusal}"
            if mode == "block" or guard.startswith("G1"):  # out of a hold leads its release, never a start
                more = "; G8 sequence" if mode == "block" and guard.startswith("G2") else ""  # its operation 0010
                assert refusal["guard"] == guard + more, where
            if mode == "block":
                assert found in refusal["found"], where
                assert todo in refusal["what_to_do"], where
                if more:  # each of them with what was found and what to do
                    assert all(f"{one}: " in refusal["found"] for one in (guard, "G8 sequence")), where
                    assert CASES["G8 sequence"][3] in refusal["what_to_do"], where
            elif not guard.startswith("G1"):
                assert answer.startswith(f"M-{mode}: start {mode}-{guard[:2]} done"), where
                assert (f"despite {guard}: found" in answer and found in answer) == (mode == "warn"), where
