"""An example of each body that the API takes, for who reads its document and for who tries it out. Runs nothing.

Each says what a person would: the fields that a row needs, and those that are mostly sent with them. A passphrase
stands in none.
"""

from __future__ import annotations

from typing import Any, Final

_MACHINE: Final = {"machine": "PRESS-1"}
_ORDER: Final = {**_MACHINE, "order": "100201"}
_OPERATION: Final = {"order": "100201", "operation": "0010"}


#: Verb to its body.
EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "reconcile": {"order": "100201"},
    "reconcile.settle": {**_OPERATION, "reason": "booked by hand in the ERP"},
    "reconcile.accept": {**_OPERATION, "reason": "confirmed in the ERP before the gateway was there"},
    "outbox.resend": {"key": "P1/box-1/100201/0010/3", "reason": "the ERP was restored from a copy"},
    "outbox.resend_from": {"target": "erp", **_OPERATION, "from": 3, "reason": "the ERP was restored from a copy"},
    "alerts.test": {"channel": "mail"},
    "outbox.material-posted": {"reason": "posted by hand, document 4900012"},
    "order.start": _ORDER,
    "order.scan": {**_MACHINE, "order": "100201/0010"},
    "order.rush": _ORDER,
    "order.approve-first-article": _ORDER,
    "order.acknowledge-documents": {**_ORDER, "document": "DRW-1044 rev. C"},
    "order.material-ready": _ORDER,
    "order.material-missing": _ORDER,
    "order.interrupt": _ORDER,
    "order.finish": {**_ORDER, "reason": "the coil has ended"},
    "order.confirm": _ORDER,
    "order.acknowledge-data": {**_ORDER, "reason": "counted by hand: the number is right"},
    "order.inspect": {**_ORDER, "verdict": "passed"},
    "order.complete-setup": _ORDER,
    "order.hold": {**_ORDER, "reason": "burrs at the edge"},
    "order.release": {**_ORDER, "reason": "the tool was ground"},
    "order.reopen": {**_ORDER, "reason": "20 pieces are missing"},
    "order.dispatch": _ORDER,
    "order.revoke": _ORDER,
    "order.reclassify": {**_ORDER, "pieces": 3, "from": "hold", "to": "good", "reason": "measured, within tolerance"},
    "reason": {**_MACHINE, "reason": "NO_MATERIAL"},
    "stop.split": {**_MACHINE, "at": "2026-05-28T06:10:00+02:00", "reason": "the fitter came"},
    "stop.merge": {**_MACHINE, "at": "2026-05-28T06:10:00+02:00", "reason": "split by mistake"},
    "undo": _MACHINE,
    "order.cancel": {**_ORDER, "reason": "the customer has cancelled"},
    "outbox.retry": {"reason": "the period is open again"},
    "outbox.release": {"reason": "agreed with the shift leader"},
    "outbox.discard": {"reason": "booked by hand, document 4900012"},
    "setup.begin": _MACHINE,
    "setup.end": _MACHINE,
    "order.correct": {
        **_ORDER, "confirmation": 3, "good": 46, "scrap": 4, "rework": 0, "reason": "four more were scratched",
    },
    "order.reverse": {**_ORDER, "confirmation": 3, "reason": "it was another order's"},
    "order.reject": {**_ORDER, "confirmation": 3, "reason": "nobody asked for so many"},
    "outbox.edit": {"good": 46, "scrap": 4, "rework": 0, "reason": "four more were scratched"},
    "outbox.post_today": {"reason": "the month is closed"},
    "outbox.booked": {"reference": "4900012", "reason": "found in the ERP by its key"},
    "outbox.approve": {"which": 12, "reason": "the customer takes them"},
    "order.allocate": {**_ORDER, "operation": "0010", "pieces": 12, "reason": "it was not logged on yet"},
    "order.split": {**_ORDER, "quantities": "40,60", "reason": "half of it goes to another press"},
    "order.merge": {
        **_MACHINE, "leader": "M-100201", "orders": "100201,100202", "distribution": "by_open_qty",
    },
    "order.unmerge": {**_MACHINE, "order": "M-100201"},
    "order.report": {**_ORDER, "good": 50, "scrap": 2, "rework": 0},
    "order.scrap": {**_ORDER, "pieces": 2, "reason": "BURR"},
    "order.rework": {**_ORDER, "pieces": 2, "reason": "BURR"},
    "hold.set": {"scope": "lot", "name": "L-2026-118", "reason": "hardness below the limit"},
    "hold.release": {"scope": "lot", "name": "L-2026-118", "reason": "measured again, right"},
    "labour.in": {**_MACHINE, "person": "anna"},
    "labour.out": {**_MACHINE, "person": "anna"},
    "lot.mount": {**_MACHINE, "feeder": "coil", "lot": "L-2026-118", "quantity": "850.5"},
    "lot.unmount": {**_MACHINE, "feeder": "coil", "lot": "L-2026-118"},
    "material.issue": {**_ORDER, "item": "GRANULATE", "quantity": "2.5", "kind": "purge"},
    "lots.name": {**_ORDER, "feeder": "coil", "lot": "L-2026-118", "reason": "the label was found"},
    "lots.serial": {**_MACHINE, "serial": "SN-000118"},
}  # fmt: skip
