"""How much material was used for what was made, as proposals that an ERP can post; exact over all confirmations.

Which lot it came from is ``lots.py``'s. It posts nothing, and an ERP that refuses a posting makes no confirmation void.
"""

from __future__ import annotations

import enum
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.orders.order_image import ComponentKind, FlushMethod
from gateway.core.work.rounding import RoundingCarry, carry_from_row, decimal_steps, step_of, steps_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.core.orders.order_image import Component, OrderImage
    from gateway.core.rules_material import BackflushRule

ACCOUNTS_MAX: Final = 1000  # items of one operation, by kind and way of posting
PERCENT: Final = 100

_ZERO: Final = Decimal(0)


class LineKind(enum.StrEnum):
    """What material was used for, or what came of it."""

    PIECES = "pieces"
    FIXED = "fixed"  # once per order
    STARTUP = "startup"  # test pieces: of a setup, or samples
    PURGE = "purge"  # without any piece
    CO_PRODUCT = "co_product"  # made besides on purpose, not used; below 0: told too much before
    BY_PRODUCT = "by_product"  # falls off; below 0 as above
    RETURN = "return"  # told too much before, and never used


class Posting(enum.StrEnum):
    """Who posts a line."""

    CONFIRMATION = "confirmation"  # the ERP, with the confirmation
    SEPARATE = "separate"  # the gateway proposes it in a message of its own
    ERP = "erp"  # the ERP reckons it itself from the pieces: told for lots and genealogy only
    MANUAL = "manual"  # a person issues it: told for lots and genealogy only


#: What is made besides the product.
BESIDES: Final = frozenset({LineKind.CO_PRODUCT, LineKind.BY_PRODUCT})
_APART: Final = BESIDES | {LineKind.STARTUP, LineKind.PURGE}
#: What no ERP reckons from the pieces: a proposal of its own also of what it flushes.
_SETUPS: Final = frozenset({LineKind.STARTUP, LineKind.PURGE})
#: Item, unit, kind and who posts it.
AccountKey = tuple[str, str, LineKind, Posting]


class Made(NamedTuple):
    """What is confirmed now, in the order's unit; a correction may be negative.

    ``startup`` are test pieces, of a setup or samples: they are in none of the others and used material all the same.
    """

    good: Decimal | int = 0
    scrap: Decimal | int = 0
    rework: Decimal | int = 0
    startup: Decimal | int = 0


class MaterialLine(NamedTuple):
    """One proposal; ``quantity`` above 0, with the decimals of its unit; below 0 only of what is made besides.

    ``separate`` says why it does not go with the confirmation: ``serialised``, ``co_product``, ``by_product`` (an ERP
    does not post these by itself), ``startup``, ``purge`` and ``return`` (it would not reckon them); else "".
    """

    item: str
    uom: str
    quantity: Decimal
    kind: LineKind
    posting: Posting
    separate: str = ""
    lot_required: bool = False


class MaterialAccount(NamedTuple):
    """All that was used of an item in one way, and what was told of it."""

    item: str
    uom: str
    kind: LineKind
    posting: Posting
    separate: str
    lot_required: bool
    used: RoundingCarry = RoundingCarry()

    @property
    def key(self) -> AccountKey:
        """What tells it from the others of its operation."""
        return (self.item, self.uom, self.kind, self.posting)


class Backflush(NamedTuple):
    """The material of one operation of an order. ``fixed``: items that were reckoned once already."""

    accounts: tuple[MaterialAccount, ...] = ()
    fixed: tuple[str, ...] = ()

    def issued(self, component: Component, kind: LineKind, amount: Fraction) -> Backflush:
        """With material that a person says was used without pieces; it is told with the next confirmation."""
        accounts = {one.key: one for one in self.accounts}
        _book(accounts, _account(component, kind), amount)
        return self._replace(accounts=tuple(accounts.values()))


class Used(NamedTuple):
    """What a confirmation reckons material from. ``setups`` that ended since the last one purge what the rule says."""

    components: tuple[Component, ...]
    made: Made
    setups: int = 0


def components_of(image: OrderImage, operation: str) -> tuple[Component, ...]:
    """What an operation uses now, and what it makes besides.

    A component without an operation is used by the first one of the routing; what is made besides is of the last one.
    """
    numbers = [one.operation for one in image.operations] or [""]
    components = image.components if image.former is None else image.former
    return tuple(one for one in components if operation == (one.operation or numbers[0 if is_used(one) else -1]))


def is_used(component: Component) -> bool:
    """Whether it is used up; else it is made besides the product."""
    return component.kind is ComponentKind.CONSUMED


def fixed_names(components: Iterable[Component]) -> tuple[str, ...]:
    """What of them is reckoned once, as ``Backflush.fixed`` names it."""
    return tuple(dict.fromkeys(_fixed_name(one) for one in components if one.fixed))


def _fixed_name(component: Component) -> str:
    return component.item if is_used(component) else f"{component.item} {component.kind}"


def per_unit(component: Component) -> Fraction:
    """What one unit uses, with what is lost on the way: quantity x (1 + scrap); 0 for a fixed one."""
    if component.fixed:
        return Fraction(0)
    return Fraction(component.quantity) * (1 + Fraction(component.scrap) / PERCENT)


def reckoned(made: Made, rule: BackflushRule) -> Fraction:
    """For how many units material is used: all that was produced, or what is good."""
    good = Fraction(made.good)
    return good if rule.basis == "good" else good + Fraction(made.scrap) + Fraction(made.rework)


def by_pieces(
    components: Iterable[Component], made: Made, rule: BackflushRule
) -> dict[AccountKey, tuple[MaterialAccount, Fraction]]:
    """What so many pieces use and make besides, by account; below 0 where they are taken back.

    A co-product comes with each good piece; a by-product falls off wherever material is used.
    """
    found: dict[AccountKey, tuple[MaterialAccount, Fraction]] = {}
    units = reckoned(made, rule)
    for component in components:
        if component.fixed:
            continue
        each = Fraction(made.good) if component.kind is ComponentKind.CO_PRODUCT else units
        booked = [(_kind_of(component), each)]
        if made.startup and is_used(component):
            booked.append((LineKind.STARTUP, Fraction(made.startup)))
        for kind, number in booked:
            account = _account(component, kind)
            before = found.get(account.key, (account, Fraction(0)))[1]
            found[account.key] = (account, before + number * per_unit(component))
    return found


def _kind_of(component: Component) -> LineKind:
    if is_used(component):
        return LineKind.FIXED if component.fixed else LineKind.PIECES
    return LineKind(component.kind.value)


def flushed(
    state: Backflush, used: Used, rule: BackflushRule, *, final: bool = False
) -> tuple[Backflush, tuple[MaterialLine, ...]]:
    """The lines of a confirmation, and what remains to remember.

    What was rounded off is told later, so that all lines of an item are its use, rounded once. With the ``final`` one,
    what was told too much comes back as a line of its own. Raises ValueError where more is taken back than was made,
    and for more than ACCOUNTS_MAX accounts.
    """
    accounts = {one.key: one for one in state.accounts}
    for component in used.components:
        if component.fixed:
            # Nothing more where it was reckoned: two lines of an item are told alike each time, as the last one says.
            due = Fraction(0) if _fixed_name(component) in state.fixed else Fraction(component.quantity)
            _book(accounts, _account(component, _kind_of(component)), due)
        for account, amount in by_pieces((component,), used.made, rule).values():
            _book(accounts, account, amount)
    for component in {one.item: one for one in used.components if is_used(one)}.values():
        if used.setups and component.item in rule.purge:
            amount = used.setups * Fraction(rule.purged(component.item))
            _book(accounts, _account(component, LineKind.PURGE), amount)
    if len(accounts) > ACCOUNTS_MAX:
        raise ValueError(f"material: found {len(accounts)} accounts of one operation, allowed at most {ACCOUNTS_MAX}")
    after, lines = _told(accounts.values(), rule, final=final)
    return Backflush(after, tuple(dict.fromkeys((*state.fixed, *fixed_names(used.components))))), lines


def taken_back(state: Backflush, lines: Iterable[MaterialLine], rule: BackflushRule) -> Backflush:
    """After the confirmation with these lines was reversed: they are due again, with the next one.

    What it took back itself (``return``) stays so. Raises ValueError for lines that were never told.
    """
    accounts = {one.key: one for one in state.accounts}
    for line in lines:
        if line.kind is LineKind.RETURN:
            continue
        key = (line.item, line.uom, line.kind, line.posting)
        account = accounts.get(key)
        if account is None:
            raise ValueError(f"{line.item}: found {line.kind} to take back, allowed what was told before")
        steps = steps_of(line.quantity, rule.places(line.uom))
        accounts[key] = account._replace(used=account.used.take_back(steps))
    return state._replace(accounts=tuple(accounts.values()))


def _account(component: Component, kind: LineKind) -> MaterialAccount:
    posting, separate = Posting.CONFIRMATION, ""
    if component.flush_method is FlushMethod.MANUAL:
        posting = Posting.MANUAL
    elif component.flush_method is FlushMethod.ERP and kind not in _SETUPS:
        posting = Posting.ERP
    elif component.serialised:
        posting, separate = Posting.SEPARATE, "serialised"
    elif kind in _APART:
        posting, separate = Posting.SEPARATE, kind.value
    return MaterialAccount(component.item, component.uom, kind, posting, separate, component.lot_required)


def _book(accounts: dict[AccountKey, MaterialAccount], account: MaterialAccount, amount: Fraction) -> None:
    before = accounts.get(account.key, account)
    used = before.used.plus(amount)
    if used.total.fraction < 0:
        raise ValueError(
            f"{account.item}: found {used.total.fraction} {account.uom} used in all ({account.kind}), allowed 0 and "
            "above: more is taken back than was made"
        )
    accounts[account.key] = account._replace(used=used)


def _told(
    accounts: Iterable[MaterialAccount], rule: BackflushRule, *, final: bool
) -> tuple[tuple[MaterialAccount, ...], tuple[MaterialLine, ...]]:
    after: list[MaterialAccount] = []
    lines: list[MaterialLine] = []
    for account in accounts:
        places = rule.places(account.uom)
        used, steps = account.used.tell(step_of(places))
        if steps:
            lines.append(_line(account, decimal_steps(steps, places)))
        owed = -used.due(step_of(places))
        if final and owed > 0:
            used = used.take_back(owed)
            kind = LineKind.RETURN
            # Nothing comes back that nobody posted: the ERP and a person reckon for themselves.
            if account.kind in BESIDES:
                lines.append(_line(account, decimal_steps(-owed, places)))
            elif account.posting in (Posting.CONFIRMATION, Posting.SEPARATE):
                line = _line(account, decimal_steps(owed, places))
                lines.append(line._replace(kind=kind, posting=Posting.SEPARATE, separate=kind.value))
        after.append(account._replace(used=used))
    return tuple(after), tuple(lines)


def _line(account: MaterialAccount, quantity: Decimal) -> MaterialLine:
    return MaterialLine(
        account.item,
        account.uom,
        quantity,
        account.kind,
        account.posting,
        account.separate,
        lot_required=account.lot_required,
    )


def backflush_from(document: Mapping[str, Any]) -> Backflush:
    """What ``_asdict`` and JSON made of ``Backflush``."""
    return Backflush(tuple(_account_from(one) for one in document["accounts"]), tuple(document["fixed"]))


def _account_from(row: Sequence[Any]) -> MaterialAccount:
    item, uom, kind, posting, separate, lot_required, used = row
    return MaterialAccount(item, uom, LineKind(kind), Posting(posting), separate, lot_required, carry_from_row(used))
