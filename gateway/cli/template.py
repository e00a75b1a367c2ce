"""``linegate template``: the device templates that a source may name, and what each of them gives. Reads no device."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from config.errors import did_you_mean

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from config.templates import Template

EXIT_OK: Final = 0
EXIT_USAGE: Final = 2


class _Found(NamedTuple):
    driver: str
    name: str
    file: Path


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``template`` with its verbs."""
    parser = commands.add_parser("template", help="device templates: which there are, and what each of them gives")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="every template with its driver and device")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=run_list)
    show = verbs.add_parser("show", help="one template: parameters, signals, and rules to copy")
    show.add_argument("name", metavar="NAME", help="as a source names it in template:")
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(run=run_show)


def run_list(args: argparse.Namespace) -> int:
    """Print the templates of all drivers."""
    rows = [(found, _load(found)) for found in _all()]
    if args.json:
        print(json.dumps([{"name": at.name, "driver": at.driver, "title": one.title} for at, one in rows], indent=2))
        return EXIT_OK
    width = max((len(at.name) for at, _ in rows), default=0)
    for at, one in rows:
        print(f"{at.name:<{width}}  {at.driver:<10}  {one.title}")
    return EXIT_OK


def run_show(args: argparse.Namespace) -> int:
    """Print one template as a person copies it."""
    templates = {found.name: found for found in _all()}
    found = templates.get(args.name)
    if found is None:
        near = did_you_mean(args.name, templates)
        print(f"found {args.name!r}, allowed: {', '.join(templates)}{near}", file=sys.stderr)
        return EXIT_USAGE
    template = _load(found)
    if args.json:
        print(json.dumps({**asdict(template), "name": found.name, "driver": found.driver}, indent=2))
        return EXIT_OK
    print("\n".join(_lines(found, template)))
    return EXIT_OK


def _all() -> list[_Found]:
    from config.templates import SUFFIX, names
    from gateway import plugins

    drivers = plugins.drivers()
    return [
        _Found(driver, name, plugin.templates / f"{name}{SUFFIX}")
        for driver, plugin in drivers.items()
        if plugin.templates is not None
        for name in names(plugin.templates)
    ]


def _load(found: _Found) -> Template:
    from config.templates import load_template

    return load_template(found.file, found.file.name)[0]


def _lines(found: _Found, template: Template) -> list[str]:
    facts = (template.facts,) if isinstance(template.facts, str) else template.facts
    needed = {name: one for name, one in template.parameters.items() if one.default is None}
    lines = [template.title, *(f"  - {fact}" for fact in facts), "", "In the configuration:", "", "sources:", "  NAME:"]
    lines.append(f"    driver: {found.driver}")
    if needed:
        given = ", ".join(f"{name}: ..." for name in needed)
        lines.append(f"    template: {{ name: {found.name}, with: {{ {given} }} }}")
    else:
        lines.append(f"    template: {found.name}")
    lines += ["    # ... and where the device is: see the driver's keys", ""]
    if template.parameters:
        lines.append("Parameters:")
        for name, parameter in template.parameters.items():
            default = "must be given" if parameter.default is None else f"default {parameter.default}"
            lines.append(f"  {name}: {parameter.meaning} ({default})")
        lines.append("")
    if template.settings:
        lines += ["Set by the template:", *(f"  {key}: {_text(value)}" for key, value in template.settings.items()), ""]
    lines += ["Signals:", *(f"  NAME.{name}: {_text(keys)}" for name, keys in template.signals.items()), ""]
    if template.work_unit:
        rules = template.work_unit.replace("{source}", "NAME")
        lines += ["Rules to copy below work_units, with your names and numbers:", "", rules.rstrip("\n")]
    return lines


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key}: {_text(below)}" for key, below in value.items()) + " }"
    return json.dumps(value) if isinstance(value, bool) else str(value)
