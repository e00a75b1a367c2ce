"""What an ERP releases, whole: an immutable image of one revision of an order, and the hash of its BOM and routing.

It checks nothing (``order_image_fields.py`` reads and checks a document) and knows no life (``lifecycle.py``).
"""

from __future__ import annotations

import enum
import hashlib
import json
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

ONE: Final = Decimal(1)
ZERO: Final = Decimal(0)


class OrderType(enum.StrEnum):
    """What the order is made for."""

    MTS = "MTS"
    MTO = "MTO"
    ETO = "ETO"
    ATO = "ATO"


class OrderKind(enum.StrEnum):
    """How it is run. A campaign does not complete by itself at its quantity."""

    DISCRETE = "discrete"
    CAMPAIGN = "campaign"
    REWORK = "rework"
    SAMPLE = "sample"


class OrderStatus(enum.StrEnum):
    """How far the ERP has got with it."""

    PLANNED = "planned"  # not released: shown, and not started
    RELEASED = "released"
    DISPATCHED = "dispatched"  # the ERP itself puts it into the queue
    CLOSED = "closed"  # it takes no more confirmations


class FlushMethod(enum.StrEnum):
    """How the use of a component is told to the ERP."""

    BACKFLUSH = "backflush"
    MANUAL = "manual"
    ERP = "erp"  # the ERP books it itself with the confirmation


class ComponentKind(enum.StrEnum):
    """What a line of the BOM is: used up, or made besides the product. Neither of the latter is yield."""

    CONSUMED = "consumed"
    CO_PRODUCT = "co_product"  # made on purpose: so much with each good piece
    BY_PRODUCT = "by_product"  # falls off: with each piece that was produced


class Control(NamedTuple):
    """Control key of an operation. ``overlap``: the next one may start while this one runs.

    ``first_article``: its first piece is approved before production.
    """

    milestone: bool = False
    auto_gr: bool = False
    final_op: bool = False
    overlap: bool = False
    inspection: bool = False
    confirmation_required: bool = True
    first_article: bool = False


class ImageOperation(NamedTuple):
    """One operation. ``std_cycle_ns`` is for one cycle, which makes ``base_quantity`` in the order's unit.

    ``quantity`` in the order's unit, above 0; ``std_scrap`` in percent; ``crew`` in persons; "" is none.
    """

    operation: str
    work_center: str
    quantity: Decimal
    sequence: str = "0"
    text: str = ""
    std_setup_ns: int | None = None
    std_cycle_ns: int | None = None
    base_quantity: Decimal = ONE
    cavities: int = 1
    std_scrap: Decimal = ZERO
    crew: int = 1
    tool: str = ""
    recipe: str = ""
    skill: str = ""
    control: Control = Control()

    @property
    def unit_time_ns(self) -> Fraction | None:
        """The planned time of one unit, exact; None where it is not known."""
        return None if self.std_cycle_ns is None else Fraction(self.std_cycle_ns) / Fraction(self.base_quantity)


class Component(NamedTuple):
    """One line of the BOM. ``quantity`` is per unit made, or once per order where ``fixed``; ``scrap`` in percent.

    ``operation`` "": used by the order as a whole. Of what is made besides (``kind``) there is no ``scrap``, nothing is
    mounted, and it has no serial numbers.
    """

    item: str
    quantity: Decimal
    uom: str
    operation: str = ""
    fixed: bool = False
    scrap: Decimal = ZERO
    flush_method: FlushMethod = FlushMethod.BACKFLUSH
    lot_required: bool = False
    serialised: bool = False
    kind: ComponentKind = ComponentKind.CONSUMED


class OrderImage(NamedTuple):
    """An order as the ERP released it.

    ``source`` names the connector. ``priority`` 1 is the most urgent, 0 none. Tolerances in percent, None where the ERP
    names none. ``hold`` is the reason of a hold that the ERP set, "" for none. ``change_number`` and ``effective_ns``
    make a revision an engineering change that may reach an order under way; ``former`` is the BOM that is reckoned with
    until then, None: it is so already. ``material_available`` None: the ERP says nothing of it. ``echo`` goes back with
    every confirmation.
    """

    source: str
    order: str
    revision: int
    product: str
    uom: str
    quantity: Decimal
    operations: tuple[ImageOperation, ...]
    product_revision: str = ""
    conversions: tuple[tuple[str, Decimal], ...] = ()
    components: tuple[Component, ...] = ()
    order_type: OrderType = OrderType.MTS
    order_kind: OrderKind = OrderKind.DISCRETE
    under_tolerance: Decimal | None = None
    over_tolerance: Decimal | None = None
    planned_start_ns: int | None = None
    planned_end_ns: int | None = None
    priority: int = 0
    sequence_no: int = 0
    documents: tuple[str, ...] = ()
    quality_plan: str = ""
    batch: str = ""
    hold: str = ""
    cancelled: bool = False
    change_number: str = ""
    effective_ns: int | None = None
    echo: tuple[tuple[str, str], ...] = ()
    status: OrderStatus = OrderStatus.RELEASED
    former: tuple[Component, ...] | None = None
    material_available: bool | None = None

    def operation(self, number: str) -> ImageOperation | None:
        """The operation of that number."""
        return next((one for one in self.operations if one.operation == number), None)

    def predecessor(self, number: str) -> ImageOperation | None:
        """The operation before it in its sequence; None for the first, and for a number that is not there."""
        own = self.operation(number)
        before: ImageOperation | None = None
        for one in self.operations:
            if own is None or one.operation == number:
                break
            if one.sequence == own.sequence:
                before = one
        return before

    @property
    def allowed_over(self) -> Decimal | None:
        """Over-delivery that is tolerated, in percent: none at all for MTO unless the ERP names one."""
        return ZERO if self.over_tolerance is None and self.order_type is OrderType.MTO else self.over_tolerance


def snapshot_hash(image: OrderImage) -> str:
    """SHA-256 (hex) of BOM and routing: what is made, of what, by which operations. Quantity and dates are no part.

    The same numbers written differently (1.20 and 1.2) and another sequence of the components make no difference.
    """
    routing = [one._replace(quantity=ONE, text="") for one in image.operations]
    parts = sorted(_canonical(component) for component in image.components)
    content = [image.product, image.product_revision, image.uom, [_canonical(one) for one in routing], parts]
    return hashlib.sha256(_text(content).encode()).hexdigest()


def digest_of(image: OrderImage) -> str:
    """SHA-256 (hex) of everything that the image says: the name under which it is kept."""
    return hashlib.sha256(_text(_plain(_fields(image))).encode()).hexdigest()


def encode(image: OrderImage) -> dict[str, Any]:
    """The image as JSON data: decimals as text, times in nanoseconds."""
    document: dict[str, Any] = json.loads(_text(_plain(_fields(image))))
    return document


def decode(document: Mapping[str, Any]) -> OrderImage:
    """What ``encode`` made. Raises KeyError, TypeError or ValueError for anything else."""
    plain = dict(document)
    former = plain.get("former")
    return OrderImage(
        **plain
        | {
            "quantity": Decimal(plain["quantity"]),
            "operations": tuple(_operation(one) for one in plain["operations"]),
            "components": tuple(_component(one) for one in plain["components"]),
            "former": None if former is None else tuple(_component(one) for one in former),
            "conversions": tuple((unit, Decimal(number)) for unit, number in plain["conversions"]),
            "order_type": OrderType(plain["order_type"]),
            "order_kind": OrderKind(plain["order_kind"]),
            "status": OrderStatus(plain.get("status", OrderStatus.RELEASED)),  # images of before have none
            "under_tolerance": _maybe(plain["under_tolerance"]),
            "over_tolerance": _maybe(plain["over_tolerance"]),
            "documents": tuple(plain["documents"]),
            "echo": tuple((name, text) for name, text in plain["echo"]),
        }
    )


def _fields(image: OrderImage) -> dict[str, Any]:
    """Without a BOM that waits it is written as before there could be one, so that its digest stays what it was."""
    fields = image._asdict()
    if image.former is None:
        del fields["former"]
    return fields


def _operation(plain: dict[str, Any]) -> ImageOperation:
    numbers = {name: Decimal(plain[name]) for name in ("quantity", "base_quantity", "std_scrap")}
    return ImageOperation(**plain | numbers | {"control": Control(**plain["control"])})


def _component(plain: dict[str, Any]) -> Component:
    numbers = {name: Decimal(plain[name]) for name in ("quantity", "scrap")}
    kind = ComponentKind(plain.get("kind", ComponentKind.CONSUMED))
    return Component(**plain | numbers | {"flush_method": FlushMethod(plain["flush_method"]), "kind": kind})


def _maybe(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _plain(value: Any) -> Any:
    if isinstance(value, Component):
        return _plain(_told(value))
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Decimal) else value


def _canonical(part: ImageOperation | Component) -> str:
    fields = _told(part) if isinstance(part, Component) else part._asdict()
    return _text(_plain({name: _one_way(value) for name, value in fields.items()}))


def _told(component: Component) -> dict[str, Any]:
    """What is used up is written as it was before anything else could be, so that its hash stays what it was."""
    fields = component._asdict()
    if component.kind is ComponentKind.CONSUMED:
        del fields["kind"]
    return fields


def _one_way(value: Any) -> Any:
    return f"{value.normalize():f}" if isinstance(value, Decimal) else value


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
