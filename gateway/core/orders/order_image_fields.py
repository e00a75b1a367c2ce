"""Reads the canonical document of an order and checks every field of it: an image, or every reason against it.

Never half: one wrong field refuses the whole document. Unknown fields are passed over, as a newer ERP may send more.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from gateway.core.duration import NS_PER_S, NS_PER_UNIT
from gateway.core.foreign_text import clean, is_clean
from gateway.core.instant import Instant
from gateway.core.orders.order_image import (
    Component,
    ComponentKind,
    Control,
    FlushMethod,
    ImageOperation,
    OrderImage,
    OrderKind,
    OrderStatus,
    OrderType,
)

if TYPE_CHECKING:
    import enum
    from collections.abc import Collection, Mapping

ID_MAX_CHARS: Final = 64
TEXT_MAX_CHARS: Final = 500
SHOWN_MAX_CHARS: Final = 40  # of what was found
NUMBER_MAX: Final = Decimal(10) ** 12
DECIMALS_MAX: Final = 6
OPERATIONS_MAX: Final = 500
COMPONENTS_MAX: Final = 1000
DOCUMENTS_MAX: Final = 100
CONVERSIONS_MAX: Final = 16
INTEGER_MAX: Final = 2**53
CAVITIES_MAX: Final = 1000
CREW_MAX: Final = 100
STANDARD_MAX_S: Final = Decimal(31 * 86_400)  # setup or cycle
PERCENT_MAX: Final = Decimal(1000)
ECHOED: Final = ("sales_order", "customer", "cost_center")

_HUNDRED: Final = Decimal(100)
_ZERO: Final = Decimal(0)
_LEAST: Final = Decimal(1).scaleb(-DECIMALS_MAX)
_Word = TypeVar("_Word", bound="enum.StrEnum")


class ImageError(NamedTuple):
    """One reason against a document. ``path`` is the field, such as ``operations[1].qty``."""

    path: str
    found: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.path}: found {self.found}, allowed: {self.allowed}"


class ImageRefused(NamedTuple):
    """Why a document is no order; ``order`` is its number as far as it could be read."""

    order: str
    errors: tuple[ImageError, ...]


def read(
    document: Mapping[str, Any],
    source: str,
    *,
    work_centers: Collection[str] | None = None,
    units: Collection[str] | None = None,
) -> OrderImage | ImageRefused:
    """The image of an order document, or every error in it.

    ``work_centers`` and ``units`` are those that are known; None: any. Numbers may be text or whole numbers, never
    binary fractions; times are ISO 8601 with an offset.
    """
    errors: list[ImageError] = []
    order = _Fields(document, "", errors)
    product = order.object("product")
    quantity = order.number("qty", least=_LEAST)
    uom = product.identifier("uom")
    if units is not None and uom and uom not in units:
        product.refuse("uom", uom, f"one of {_some(units)}")
    operations = _operations(order, quantity, work_centers)
    image = OrderImage(
        source=source,
        order=order.identifier("order_id"),
        revision=order.integer("revision", default=0),
        product=product.identifier("id"),
        uom=uom,
        quantity=quantity,
        operations=operations,
        product_revision=product.identifier("revision", default=""),
        conversions=_conversions(product),
        components=_components(order, {one.operation for one in operations}, product.raw("id")),
        order_type=order.word("type", OrderType, OrderType.MTS),
        order_kind=order.word("kind", OrderKind, OrderKind.DISCRETE),
        under_tolerance=order.maybe("under_tolerance_pct", _HUNDRED),
        over_tolerance=order.maybe("over_tolerance_pct", PERCENT_MAX),
        planned_start_ns=order.time_ns("planned_start"),
        planned_end_ns=order.time_ns("planned_end"),
        priority=order.integer("priority", default=0),
        sequence_no=order.integer("sequence_no", default=0),
        documents=_documents(order),
        quality_plan=order.identifier("quality_plan", default=""),
        batch=order.identifier("batch", default=""),
        hold=order.text("hold"),
        cancelled=order.flag("cancelled"),
        status=order.word("status", OrderStatus, OrderStatus.RELEASED),
        material_available=order.flag("material_available") if "material_available" in document else None,
        change_number=order.identifier("change_number", default=""),
        effective_ns=order.time_ns("effective_at"),
        echo=tuple((name, text) for name in ECHOED if (text := order.text(name))),
    )
    start, end = image.planned_start_ns, image.planned_end_ns
    if start is not None and end is not None and end < start:
        order.refuse("planned_end", document["planned_end"], f"{document['planned_start']} (planned_start) or later")
    if errors:
        return ImageRefused(image.order, tuple(errors))
    return image


def _operations(
    order: _Fields, order_quantity: Decimal, work_centers: Collection[str] | None
) -> tuple[ImageOperation, ...]:
    found: list[ImageOperation] = []
    for fields in order.objects("operations", 1, OPERATIONS_MAX):
        # A slash would make the key of a confirmation ambiguous.
        number = fields.identifier("op", forbidden="/")
        if any(number == other.operation for other in found):
            fields.refuse("op", number, "each operation once")
        work_center = fields.identifier("work_center")
        if work_centers is not None and work_center and work_center not in work_centers:
            fields.refuse("work_center", work_center, f"one that is known: {_some(work_centers)}")
        found.append(
            ImageOperation(
                operation=number,
                work_center=work_center,
                quantity=fields.number("qty", least=_LEAST, default=order_quantity),
                sequence=fields.identifier("sequence", default="0"),
                text=fields.text("text"),
                std_setup_ns=fields.length_ns("std_setup_min", NS_PER_UNIT["min"], _ZERO),
                std_cycle_ns=fields.length_ns("std_cycle_s", NS_PER_S, _LEAST),
                base_quantity=fields.number("base_qty", least=_LEAST, default=Decimal(1)),
                cavities=fields.integer("cavities", default=1, least=1, most=CAVITIES_MAX),
                std_scrap=fields.number("std_scrap_pct", most=_HUNDRED, default=_ZERO),
                crew=fields.integer("crew", default=1, most=CREW_MAX),
                tool=fields.identifier("tool", default=""),
                recipe=fields.identifier("recipe", default=""),
                skill=fields.identifier("required_skill", default=""),
                control=_control(fields.object("control", optional=True)),
            )
        )
    finals = [one.operation for one in found if one.control.final_op]
    if len(finals) > 1:
        order.refuse("operations", f"final_op at {', '.join(finals)}", "final_op at one operation at most")
    return tuple(found)


def _control(fields: _Fields) -> Control:
    return Control(**{name: fields.flag(name, default=Control._field_defaults[name]) for name in Control._fields})


def _components(order: _Fields, operations: set[str], product: object) -> tuple[Component, ...]:
    found = []
    for fields in order.objects("components", 0, COMPONENTS_MAX):
        operation = fields.identifier("op", default="")
        # Without any operation that error is told already.
        if operation and operations and operation not in operations:
            fields.refuse("op", operation, f"an operation of this order: {_some(operations)}")
        kind = fields.word("kind", ComponentKind, ComponentKind.CONSUMED)
        scrap = fields.number("scrap_pct", most=PERCENT_MAX, default=_ZERO)
        lot_required, serialised = fields.flag("lot_required"), fields.flag("serialised")
        item = fields.identifier("item")
        if kind is not ComponentKind.CONSUMED:
            if isinstance(product, str) and item and item == product.strip():  # each piece would be received twice
                fields.refuse("item", item, f"another item than the product with kind {kind}: its pieces are the yield")
            for name, said in (("scrap_pct", scrap), ("lot_required", lot_required), ("serialised", serialised)):
                if said:  # it would be said and change nothing
                    fields.refuse(name, fields.raw(name), f"none with kind {kind}: it is made, not used")
        found.append(
            Component(
                item=item,
                quantity=fields.number("qty_per", least=_LEAST),
                uom=fields.identifier("uom"),
                operation=operation,
                fixed=fields.flag("fixed"),
                scrap=scrap,
                flush_method=fields.word("flush_method", FlushMethod, FlushMethod.BACKFLUSH),
                lot_required=lot_required,
                serialised=serialised,
                kind=kind,
            )
        )
    return tuple(found)


def _conversions(product: _Fields) -> tuple[tuple[str, Decimal], ...]:
    fields = product.object("conversions", optional=True)
    names = sorted(str(name) for name in fields.image)
    if len(names) > CONVERSIONS_MAX:
        product.refuse("conversions", f"{len(names)} units", f"{CONVERSIONS_MAX} at most")
        return ()
    return tuple((clean(name, ID_MAX_CHARS), fields.number(name, least=_LEAST)) for name in names)


def _documents(order: _Fields) -> tuple[str, ...]:
    names = order.raw("documents")
    if names is None:
        return ()
    plain = isinstance(names, list) and all(isinstance(name, str) and 0 < len(name) <= TEXT_MAX_CHARS for name in names)
    if not plain or len(names) > DOCUMENTS_MAX or len(set(names)) < len(names):
        order.refuse("documents", names, f"a list of up to {DOCUMENTS_MAX} names, each once")
        return ()
    return tuple(clean(name) for name in names)


def _some(names: Collection[str]) -> str:
    listed = sorted(names)[:10]
    return (", ".join(listed) or "none") + (" ..." if len(names) > len(listed) else "")


class _Fields:
    """The fields of one object. Each method returns the value, or a stand-in after noting what is wrong with it."""

    def __init__(self, image: Mapping[str, Any], where: str, errors: list[ImageError]) -> None:
        self.image = image
        self._where = where
        self._errors = errors

    def refuse(self, name: str, found: object, allowed: str) -> None:
        shown = clean(found if isinstance(found, str) else repr(found), SHOWN_MAX_CHARS)
        self._errors.append(ImageError(f"{self._where}{name}", "nothing" if found is None else shown, allowed))

    def raw(self, name: str) -> Any:
        return self.image.get(name)

    def object(self, name: str, *, optional: bool = False) -> _Fields:
        value = self.raw(name)
        if not isinstance(value, dict):
            if value is not None or not optional:
                self.refuse(name, value, "an object")
                # Its fields are missing because it is: one error, not one for each.
                return _Fields({}, "", [])
            value = {}
        return _Fields(value, f"{self._where}{name}.", self._errors)

    def objects(self, name: str, least: int, most: int) -> list[_Fields]:
        value = self.raw(name)
        if value is None and not least:
            return []
        if not isinstance(value, list) or not least <= len(value) <= most:
            self.refuse(
                name, f"{len(value)} of them" if isinstance(value, list) else value, f"a list of {least} to {most}"
            )
            return []
        found = []
        for number, one in enumerate(value):
            if isinstance(one, dict):
                found.append(_Fields(one, f"{self._where}{name}[{number}].", self._errors))
            else:
                self.refuse(f"{name}[{number}]", one, "an object")
        return found

    def identifier(self, name: str, *, default: str | None = None, forbidden: str = "") -> str:
        value = self.raw(name)
        if value is None and default is not None:
            return default
        text = value.strip() if isinstance(value, str) else ""
        fits = (text or default == "") and len(text) <= ID_MAX_CHARS and not set(forbidden) & set(text)
        if not isinstance(value, str) or not fits or not text.isprintable():
            without = f", without {forbidden}" if forbidden else ""
            self.refuse(name, value, f"text of 1 to {ID_MAX_CHARS} printable characters{without}")
        return text

    def text(self, name: str) -> str:
        value = self.raw(name)
        if value is not None and not (isinstance(value, str) and len(value) <= TEXT_MAX_CHARS and is_clean(value)):
            self.refuse(name, value, f"text of up to {TEXT_MAX_CHARS} characters in one line")
            return ""
        return "" if value is None else value.strip()

    def number(
        self, name: str, *, least: Decimal = _ZERO, most: Decimal = NUMBER_MAX, default: Decimal | None = None
    ) -> Decimal:
        value = self.raw(name)
        if value is None and default is not None:
            return default
        number = _decimal(value)
        if number is None or not least <= number <= most or number != round(number, DECIMALS_MAX):
            bounds = f"a number from {least:f} to {most:f} with at most {DECIMALS_MAX} decimals"
            self.refuse(name, value, bounds)
            return Decimal(1)
        return number

    def maybe(self, name: str, most: Decimal) -> Decimal | None:
        return None if self.raw(name) is None else self.number(name, most=most)

    def integer(self, name: str, *, default: int, least: int = 0, most: int = INTEGER_MAX) -> int:
        value = self.raw(name)
        if value is None:
            return default
        number = _decimal(value)
        if number is None or not least <= number <= most or number != int(number):
            self.refuse(name, value, f"a whole number from {least} to {most}")
            return default
        return int(number)

    def length_ns(self, name: str, unit_ns: int, least: Decimal) -> int | None:
        value = self.raw(name)
        if value is None:
            return None
        most = STANDARD_MAX_S * NS_PER_S / unit_ns
        return int(self.number(name, least=least, most=most) * unit_ns)

    def time_ns(self, name: str) -> int | None:
        value = self.raw(name)
        if value is None:
            return None
        try:
            return int(Instant(value if isinstance(value, str) else ""))
        except (ValueError, OverflowError):
            self.refuse(name, value, "ISO 8601 with an offset, such as '2026-11-22T06:00:00Z'")
            return None

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self.raw(name)
        if value is not None and not isinstance(value, bool):
            self.refuse(name, value, "true or false")
        return default if value is None else bool(value)

    def word(self, name: str, words: type[_Word], default: _Word) -> _Word:
        value = self.raw(name)
        if value is None:
            return default
        found = next((word for word in words if word.value == value), None)
        if found is None:
            self.refuse(name, value, ", ".join(words))
        return found or default


def _decimal(value: object) -> Decimal | None:
    """A number as it was written; None for what is none, and for binary fractions."""
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return None
    if isinstance(value, str) and (not value.isascii() or "_" in value or len(value) > ID_MAX_CHARS):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) <= NUMBER_MAX * NUMBER_MAX else None
