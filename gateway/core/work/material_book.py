"""The material of a work unit's orders: each piece takes from the lots at the feeders, each confirmation tells of it.

Puts ``lots.py``, ``backflush.py`` and ``produced_lots.py`` together for one machine. Counts nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.model import Notice
from gateway.core.work.backflush import Backflush, LineKind, Made, Used, components_of, flushed, per_unit
from gateway.core.work.genealogy import GenealogyLink, Tracked, TrackedKind, links_of
from gateway.core.work.lots import UNKNOWN_LOT, USES_MAX, Certainty, Draw, Feeder, by_lot, collected, drawn, missing
from gateway.core.work.produced_lots import LotFacts, produced_lot
from gateway.core.work.refused import WorkRefused
from gateway.core.work.rounding import Exact
from gateway.core.work.run_work import MADE_LOTS_MAX, ConfirmedLines, MadeLot

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from fractions import Fraction

    from gateway.core.model import Output
    from gateway.core.orders.job_run import JobRun
    from gateway.core.orders.order_image import Component
    from gateway.core.rules_material import WorkRule
    from gateway.core.work.backflush import MaterialLine
    from gateway.core.work.lots import LotNotice, LotUse
    from gateway.core.work.run_work import RunWork

#: The flag of a confirmation of which some material is of a lot that nobody knows.
LOT_UNKNOWN: Final = "LOT_UNKNOWN"
_ONE: Final = Exact(1)


class Drawing(NamedTuple):
    """Pieces that were made in ``[from_ns, to_ns]``, in a shift such as ``2026-03-27/F``."""

    pieces: int
    from_ns: int
    to_ns: int
    shift: str


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

    @staticmethod
    def unknown_items(run: JobRun) -> tuple[str, ...]:
        """Items of which open pieces of an order took a lot that nobody knows."""
        uses = (use for one in run.work.made for use in one.uses)
        return tuple(dict.fromkeys(use.item for use in uses if use.lot == UNKNOWN_LOT))

    # --- pieces ----------------------------------------------------------------------------------------------------

    def took(
        self, feeders: tuple[Feeder, ...], run: JobRun, drawing: Drawing, at_ns: int, out: list[Output]
    ) -> tuple[tuple[Feeder, ...], JobRun]:
        """The feeders and the order after pieces of it were made."""
        by_name = {one.name: one for one in feeders}
        uses: list[LotUse] = []
        for component, each in self._taken(run):
            name = self._feeder_of[component.item]
            # Of a leader its originals are confirmed, and it has no number itself.
            begun = run.seq > 0 or bool(run.work.made) or (run.merged is not None and run.merged.began)
            once = component.fixed and begun
            if once or not each.fraction:
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
        parts = () if image is None else components_of(image, run.job.operation)
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
            if one.item in self._feeder_of
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
        place = next((at for at, one in enumerate(made) if one.lot == lot), None)
        if place is not None and len(made) < MADE_LOTS_MAX and len(made[place].uses) + len(uses) > USES_MAX:
            place = None
        if place is None and len(made) < MADE_LOTS_MAX:
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

    def confirmed(
        self, run: JobRun, shift: str, at_ns: int, *, final: bool
    ) -> tuple[RunWork, tuple[ConfirmedLines, ...], tuple[MadeLot, ...], tuple[GenealogyLink, ...]]:
        """What a confirmation says of material and lots, and what remains to remember."""
        if not self.follows_lots and run.open_pieces:
            drawing = Drawing(run.open_pieces, run.open_from_ns, at_ns, shift)
            run = self._made(run, (), (), drawing, at_ns, [])
        work, image = run.work, run.job.image
        components = () if image is None else components_of(image, run.job.operation)
        material = work.material
        if run.seq and not material.accounts and not material.fixed:
            # It was confirmed before, elsewhere or behind its end: what is used once was told then.
            material = Backflush((), tuple(one.item for one in components if one.fixed))
        made = Made(run.open_good, run.open_scrap, run.open_rework)
        used = Used(components, made, setups=work.setups)
        material, lines = flushed(material, used, self._rule.backflush, final=final)
        uses = [use for lot in work.made for use in lot.uses]
        told = tuple(self._by_lot(line, uses) for line in lines)
        links = self._links(run, {one.item: one.uom for one in components})
        rest = work._replace(material=material, setups=0, made=(), serials=())
        return rest, told, work.made, links

    def _by_lot(self, line: MaterialLine, uses: Iterable[LotUse]) -> ConfirmedLines:
        if line.item not in self._feeder_of and not line.lot_required:
            return ConfirmedLines(line)
        own = [one for one in uses if one.item == line.item]
        parts = by_lot(line.quantity, self._rule.backflush.places(line.uom), own)
        return ConfirmedLines(line, tuple((lot, str(quantity)) for lot, quantity in parts))

    def _links(self, run: JobRun, uoms: dict[str, str]) -> tuple[GenealogyLink, ...]:
        job = run.job
        found: list[GenealogyLink] = []
        name = f"{job.order}/{job.operation}/{self._machine}"
        lots = {one.lot: Tracked(TrackedKind.LOT, job.product, one.lot) for one in run.work.made if one.lot}
        for made in run.work.made:
            if made.lot:
                found += links_of(made.uses, lots[made.lot], name, uoms)
        parent = lots.get(run.work.produced.lot)
        if parent is not None:
            for one in run.work.serials:
                child = Tracked(TrackedKind.SERIAL, one.item, one.serial)
                link = GenealogyLink(parent, child, _ONE, job.uom, name, one.at_ns, one.at_ns, Certainty.EXACT)
                found.append(link)
        return tuple(found)


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
