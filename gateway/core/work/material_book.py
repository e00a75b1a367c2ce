"""The material of a work unit's orders: each piece takes from the lots at the feeders, each confirmation tells of it.

Puts ``lots.py``, ``backflush.py`` and ``produced_lots.py`` together for one machine. Counts nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.model import Notice
from gateway.core.work.backflush import (
    BESIDES,
    Backflush,
    LineKind,
    Made,
    Used,
    components_of,
    fixed_names,
    flushed,
    is_used,
    per_unit,
)
from gateway.core.work.genealogy import GenealogyLink, Tracked, TrackedKind, links_of
from gateway.core.work.held_back import apart
from gateway.core.work.lots import (
    LOT_UNKNOWN,
    UNKNOWN_LOT,
    USES_MAX,
    Certainty,
    Draw,
    Feeder,
    by_lot,
    collected,
    drawn,
    missing,
)
from gateway.core.work.produced_lots import LotFacts, produced_lot
from gateway.core.work.refused import WorkRefused
from gateway.core.work.rounding import Exact, decimal_text, step_of
from gateway.core.work.run_work import MADE_LOTS_MAX, ConfirmedLines, HeldMaterial, MadeLot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from fractions import Fraction

    from gateway.core.model import Output
    from gateway.core.orders.job_run import JobRun
    from gateway.core.orders.order_image import Component
    from gateway.core.rules_material import WorkRule
    from gateway.core.work.backflush import MaterialLine
    from gateway.core.work.lots import LotNotice, LotUse
    from gateway.core.work.run_work import RunWork

_ONE: Final = Exact(1)


class Drawing(NamedTuple):
    """Pieces that were made in ``[from_ns, to_ns]``, in a shift such as ``2026-03-27/F``."""

    pieces: int
    from_ns: int
    to_ns: int
    shift: str


class ToldMaterial(NamedTuple):
    """What a confirmation says of material and lots; ``held``: what its pieces on hold were made from."""

    lines: tuple[ConfirmedLines, ...]
    lots: tuple[MadeLot, ...]
    links: tuple[GenealogyLink, ...]
    held: tuple[HeldMaterial, ...]


class MaterialBook:
    """The rule of one machine, prepared."""

    def __init__(self, rule: WorkRule, machine: str) -> None:
        self._rule = rule
        self._machine = machine
        self._feeder_of = {one.item: name for name, one in rule.lots.feeders.items()}

    @property
    def follows_lots(self) -> bool:
        """Whether pieces take from mounted lots at all."""
        return bool(self._feeder_of)

    def feeders(self, known: Sequence[Feeder]) -> tuple[Feeder, ...]:
        """The feeders of these rules; one that is the same goes on with its lots."""
        lots = {(one.name, one.item): one.lots for one in known}
        rules = self._rule.lots.feeders
        return tuple(Feeder(name, one.item, lots.get((name, one.item), ())) for name, one in rules.items())

    def lacking(self, feeders: Sequence[Feeder], run: JobRun, at_ns: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Items of which an order needs a mounted lot to start, and those of which one is there."""
        needed: list[str] = []
        there: list[str] = []
        by_name = {one.name: one for one in feeders}
        # What was mounted within this very input is there, too.
        at_ns = max([at_ns, *(lot.mounted_ns for one in feeders for lot in one.lots)])
        for component, each in self._taken(run):
            feeder = by_name[self._feeder_of[component.item]]
            setting = self._rule.lots.feeders[feeder.name]
            if self._rule.lots.missing == "flag" or not setting.required:
                continue
            needed.append(component.item)
            if missing(feeder, at_ns, each, self._rule.lots) is None:
                there.append(component.item)
        return tuple(needed), tuple(there)

    def mounted(self, feeders: Sequence[Feeder], run: JobRun, at_ns: int) -> frozenset[str]:
        """The lots that are there for an order to take from."""
        items = {component.item for component, _ in self._taken(run)}
        # What was mounted within this very input is there, too.
        at_ns = max([at_ns, *(lot.mounted_ns for one in feeders for lot in one.lots)])
        return frozenset(lot.lot for one in feeders if one.item in items for lot in one.mounted_at(at_ns))

    @staticmethod
    def unknown_items(run: JobRun) -> tuple[str, ...]:
        """Items of which open pieces of an order took a lot that nobody knows."""
        uses = (use for one in run.work.made for use in one.uses)
        return tuple(dict.fromkeys(use.item for use in uses if use.lot == UNKNOWN_LOT))

    def untold(self, run: JobRun) -> bool:
        """Whether a confirmation would tell of material that was used without pieces, or none did yet."""
        places = self._rule.backflush.places
        return any(one.used.due(step_of(places(one.uom))) > 0 for one in run.work.material.accounts)

    # --- pieces ----------------------------------------------------------------------------------------------------

    def took(
        self, feeders: tuple[Feeder, ...], run: JobRun, drawing: Drawing, at_ns: int, out: list[Output]
    ) -> tuple[tuple[Feeder, ...], JobRun]:
        """The feeders and the order after pieces of it were made."""
        by_name = {one.name: one for one in feeders}
        uses: list[LotUse] = []
        for component, amount in self._taken(run):
            name = self._feeder_of[component.item]
            each = Exact.of(amount.fraction * _due_once(run, component)) if component.fixed else amount
            if not each.fraction:
                continue
            draw = Draw(0 if component.fixed else drawing.pieces, each, drawing.from_ns, drawing.to_ns)
            by_name[name], found, notices = drawn(by_name[name], draw)
            uses += found
            out.extend(_told(one, run, at_ns) for one in notices if _is_new(one, run))
        kept = tuple(by_name.values())
        return kept, self._made(run, kept, uses, drawing, at_ns, out)

    def issued(
        self, feeders: tuple[Feeder, ...], run: JobRun, item: str, amount: Fraction, kind: LineKind, at_ns: int
    ) -> tuple[tuple[Feeder, ...], JobRun] | WorkRefused:
        """After material was used without pieces: a purge, or what a start took. Code: UNKNOWN_MATERIAL."""
        image = run.job.image
        parts = () if image is None else tuple(filter(is_used, components_of(image, run.job.operation)))
        component = next((one for one in parts if one.item == item), None)
        if component is None:
            allowed = ", ".join(one.item for one in parts) or "none"
            where = f"order {run.job.order}, operation {run.job.operation}"
            return WorkRefused("UNKNOWN_MATERIAL", where, f"item {item}", allowed, "issue what the order's BOM names")
        material = run.work.material.issued(component, kind, amount)
        run = run._replace(work=run.work._replace(material=material))
        name = self._feeder_of.get(item)
        if name is None:
            return feeders, run
        by_name = {one.name: one for one in feeders}
        by_name[name], uses, _ = drawn(by_name[name], Draw(0, Exact.of(amount), at_ns, at_ns))
        kept = tuple(by_name.values())
        return kept, self._made(run, kept, uses, Drawing(0, at_ns, at_ns, ""), at_ns, [])

    def _taken(self, run: JobRun) -> tuple[tuple[Component, Exact], ...]:
        """What this order takes from feeders, and how much for a piece, or once where it is fixed."""
        image = run.job.image
        if image is None:
            return ()
        return tuple(
            (one, Exact.of(one.quantity) if one.fixed else Exact.of(per_unit(one)))
            for one in components_of(image, run.job.operation)
            if one.item in self._feeder_of and is_used(one)
        )

    def _made(
        self,
        run: JobRun,
        feeders: Sequence[Feeder],
        uses: Sequence[LotUse],
        drawing: Drawing,
        at_ns: int,
        out: list[Output],
    ) -> JobRun:
        """The order with these pieces in their lot."""
        work = self._in_lot(run, feeders, uses, drawing, at_ns, out)
        made, lot = list(work.made), work.produced.lot
        place = next((at for at, one in enumerate(made) if one.lot == lot and not one.linked), None)
        if place is not None and len(made) < MADE_LOTS_MAX and len(made[place].uses) + len(uses) > USES_MAX:
            place = None
        if place is None and (len(made) < MADE_LOTS_MAX or made[-1].linked):
            made.append(MadeLot(lot, drawing.pieces, collected((), uses), drawing.from_ns, drawing.to_ns))
        else:
            at = -1 if place is None else place
            one = made[at]
            made[at] = one._replace(
                pieces=one.pieces + drawing.pieces,
                uses=collected(one.uses, uses),
                from_ns=min(one.from_ns, drawing.from_ns),
                to_ns=max(one.to_ns, drawing.to_ns),
            )
        flags = run.open_flags
        if any(one.lot == UNKNOWN_LOT for one in uses) and LOT_UNKNOWN not in flags:
            flags = (*flags, LOT_UNKNOWN)
        return run._replace(work=work._replace(made=tuple(made)), open_flags=flags)

    def _in_lot(
        self,
        run: JobRun,
        feeders: Sequence[Feeder],
        uses: Sequence[LotUse],
        drawing: Drawing,
        at_ns: int,
        out: list[Output],
    ) -> RunWork:
        """The order's work with the lot that is made now."""
        work, job = run.work, run.job
        lots = {one.feeder: one.lot for one in uses}
        materials = tuple((one.name, lots[one.name]) for one in feeders if one.name in lots)
        day, _, shift = drawing.shift.partition("/")
        if not drawing.pieces and work.produced.number:
            return work  # what is used up without pieces begins no lot
        batch = "" if job.image is None else job.image.batch
        facts = LotFacts(job.order, job.operation, self._machine, day, shift, batch, materials)
        found = produced_lot(work.produced, facts, self._rule.lots)
        if isinstance(found, WorkRefused):
            if not work.made:
                names = (("order", job.order), ("operation", job.operation), ("reason", str(found)))
                out.append(Notice(at_ns, found.code, names))
            return work
        return work._replace(produced=found)

    # --- confirmations -----------------------------------------------------------------------------------------------

    def confirmed(self, run: JobRun, shift: str, at_ns: int, *, final: bool) -> tuple[RunWork, ToldMaterial]:
        """What remains to remember after a confirmation, and what it says of material and lots."""
        if not self.follows_lots and run.open_pieces:
            drawing = Drawing(run.open_pieces, run.open_from_ns, at_ns, shift)
            run = self._made(run, (), (), drawing, at_ns, [])
        work, image = run.work, run.job.image
        components = () if image is None else components_of(image, run.job.operation)
        material = work.material
        if run.seq and not material.accounts and not material.fixed:
            # It was confirmed before, elsewhere or behind its end: what is used once was told then.
            material = Backflush((), fixed_names(components))
        made = Made(run.open_good, run.open_scrap, run.open_rework, run.open_test)
        used = Used(components, made, setups=work.setups)
        material, lines = flushed(material, used, self._rule.backflush, final=final)
        uoms = {one.item: one.uom for one in components}
        judged, held = apart(work.made, run.open_hold)
        uses = [use for lot in judged for use in lot.uses]
        waits = [use for lot in held for use in lot.uses]
        told = ToldMaterial(
            tuple(self._by_lot(line, uses, waits) for line in lines),
            work.made,
            self._links(run, uoms),
            _held(waits, uoms),
        )
        return work._replace(material=material, setups=0, made=(), serials=(), linked_serials=0), told

    def _by_lot(self, line: MaterialLine, uses: Iterable[LotUse], waits: Iterable[LotUse]) -> ConfirmedLines:
        if line.kind in BESIDES or (line.item not in self._feeder_of and not line.lot_required):
            return ConfirmedLines(line)
        # What was rounded off before may be told with pieces that all wait.
        own = [one for one in uses if one.item == line.item] or [one for one in waits if one.item == line.item]
        parts = by_lot(line.quantity, self._rule.backflush.places(line.uom), own)
        return ConfirmedLines(line, tuple((lot, str(quantity)) for lot, quantity in parts))

    def _links(self, run: JobRun, uoms: dict[str, str]) -> tuple[GenealogyLink, ...]:
        job = run.job
        found: list[GenealogyLink] = []
        name = f"{job.order}/{job.operation}/{self._machine}"
        lots = {one.lot: Tracked(TrackedKind.LOT, job.product, one.lot) for one in run.work.made if one.lot}
        for made in run.work.made:
            if made.lot and not made.linked:
                found += links_of(made.uses, lots[made.lot], name, uoms)
        parent = lots.get(run.work.produced.lot)
        if parent is not None:
            for one in run.work.serials[run.work.linked_serials :]:
                child = Tracked(TrackedKind.SERIAL, one.item, one.serial)
                link = GenealogyLink(parent, child, _ONE, job.uom, name, one.at_ns, one.at_ns, Certainty.EXACT)
                found.append(link)
        return tuple(found)


def _held(uses: Iterable[LotUse], uoms: Mapping[str, str]) -> tuple[HeldMaterial, ...]:
    """By item and lot, what was taken first before the rest."""
    by_item: dict[str, dict[str, Exact]] = {}
    for one in uses:
        lots = by_item.setdefault(one.item, {})
        lots[one.lot] = lots.get(one.lot, Exact()).plus(one.quantity.fraction)
    return tuple(
        HeldMaterial(item, uoms.get(item, ""), tuple((lot, decimal_text(taken)) for lot, taken in lots.items()))
        for item, lots in by_item.items()
    )


def _due_once(run: JobRun, component: Component) -> int:
    """How often a thing that is used once per order is due with the first piece: for each order that takes it."""
    if any(one.pieces for one in run.work.made):
        return 0
    if run.merged is not None:  # its originals are confirmed, each with its own
        return 0 if run.merged.began else sum(_due_once(one, component) for one in run.merged.runs)
    return int(not run.seq and not set(fixed_names((component,))) & set(run.work.material.fixed))


def _told(found: LotNotice, run: JobRun, at_ns: int) -> Notice:
    detail = {
        "order": run.job.order,
        "operation": run.job.operation,
        "feeder": found.feeder,
        "item": found.item,
        "lot": found.lot,
        "amount": str(found.amount.fraction),
        "next_lot": found.next_lot,
    }
    return Notice(at_ns, found.code, tuple(detail.items()))


def _is_new(found: LotNotice, run: JobRun) -> bool:
    """A missing lot is told once in a confirmation, not with each piece."""
    if found.code != "LOT_MISSING":
        return True
    return not any(use.feeder == found.feeder and use.lot == UNKNOWN_LOT for one in run.work.made for use in one.uses)
