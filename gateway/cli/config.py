"""``linegate check``, ``linegate schema`` and ``linegate init``: everything about a configuration but using it.

Talks to no machine and to no ERP, and reads no secret's text into its output.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.cli.run import add_file

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from config.settings import Settings

STARTER_NAME: Final = "linegate.yaml"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``check``, ``schema`` and ``init``."""
    parser = commands.add_parser(
        "check",
        help="check a configuration",
        description="Checks a configuration and everything it includes, without touching a machine. Prints every error "
        "with its place; exit status 0 only if there is none.",
    )
    add_file(parser)
    parser.add_argument("--json", action="store_true", help="print the result for programs")
    parser.set_defaults(run=run, config_command="check")

    parser = commands.add_parser("schema", help="print the JSON Schema of the configuration, for editors")
    parser.add_argument("--notice", action="store_true", help="that of a notice to an ERP instead, for who receives it")
    parser.set_defaults(run=run, config_command="schema")

    parser = commands.add_parser(
        "init", help="write a first configuration", description="Writes a commented configuration; overwrites nothing."
    )
    parser.add_argument(
        "target", type=Path, nargs="?", default=Path(), metavar="DIR|FILE", help=f"default: ./{STARTER_NAME}"
    )
    parser.set_defaults(run=run, config_command="init")


def run(args: argparse.Namespace) -> int:
    """Run the sub-command; 0 when all is well, 1 after a message on stderr."""
    if args.config_command == "check":
        return check(args.file or args.config, as_json=args.json)
    if args.config_command == "schema":
        return notice_schema() if args.notice else schema()
    return init(args.target)


def load_or_complain(file: Path) -> Settings | None:
    """The settings of a file with this process's environment, or None after every error was printed on stderr."""
    settings, errors = _load(file)
    _print_errors(errors)
    return settings


def check(file: Path, *, as_json: bool) -> int:
    """Print what the configuration says, or everything that is wrong with it."""
    from gateway import plugins

    settings, errors = _load(file)
    errors += [
        {"message": text, "text": text}
        for text in (*plugins.foreign_owners(), *_certificate(settings), *_named_files(settings))
    ]
    if settings is None or errors:
        if as_json:
            print(json.dumps({"ok": False, "errors": [_without_text(error) for error in errors]}, indent=2))
        else:
            _print_errors(errors)
            print(f"{file}: {len(errors)} error{'s' * (len(errors) != 1)}", file=sys.stderr)
        return 1
    warnings = [*settings.warnings, *_secret_warnings(settings), *plugins.problems()]
    if as_json:
        print(json.dumps({"ok": True, "warnings": warnings, **_summary(settings)}, indent=2))
        return 0
    for line in _summary_lines(settings):
        print(line)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{file}: ok, {len(warnings)} warning{'s' * (len(warnings) != 1)}, sha256 {settings.digest[:12]}")
    return 0


def notice_schema() -> int:
    """Print the JSON Schema of a notice to an ERP."""
    print(resources.files("gateway.connectors").joinpath("notice.schema.json").read_text(encoding="utf-8"), end="")
    return 0


def schema() -> int:
    """Print the JSON Schema for what is installed here."""
    from config.schema import schema_text
    from gateway import plugins

    try:
        print(schema_text(plugins.drivers(), plugins.connectors()), end="")
    except plugins.PluginError as error:
        print(f"linegate: {error}", file=sys.stderr)
        return 1
    return 0


def init(target: Path) -> int:
    """Write the starter to a file, or as ``linegate.yaml`` into a folder."""
    import config

    file = target / STARTER_NAME if target.is_dir() else target
    starter = Path(config.__file__).with_name("starter.yaml").read_text(encoding="utf-8")
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(starter)
    except FileExistsError:
        print(f"{file}: already exists and is not overwritten; name another file", file=sys.stderr)
        return 1
    except OSError as failure:
        print(f"{file}: cannot be written: {failure.strerror}; check the folder and its owner", file=sys.stderr)
        return 1
    print(f"{file}: written; put your addresses in, then run: linegate check {file}")
    return 0


def _load(file: Path) -> tuple[Settings | None, list[dict[str, Any]]]:
    from config.errors import ConfigErrors
    from config.loader import load
    from gateway import plugins

    try:
        return load(file, drivers=plugins.drivers(), connectors=plugins.connectors(), env=os.environ), []
    except ConfigErrors as failure:
        errors = [
            {**error.place._asdict(), "path": error.path, "message": error.text, "text": str(error)}
            for error in failure.errors
        ]
        return None, errors
    except plugins.PluginError as failure:
        return None, [{"message": str(failure), "text": f"linegate: {failure}"}]


def _certificate(settings: Settings | None) -> list[str]:
    """What keeps the API from proving itself: its certificate and key are opened as the daemon will."""
    if settings is None or settings.api is None or settings.api.tls is None:
        return []
    from gateway.api.certificate import CertificateError, tls_context

    try:
        tls_context(settings.base_dir, settings.api.tls)
    except CertificateError as error:
        return [f"{settings.place('api.tls')}: {error}"]
    return []


def _named_files(settings: Settings | None) -> list[str]:
    """What is wrong in the files that connectors are told to read, such as a profile."""
    from gateway import plugins

    problems: list[str] = []
    for name, target in ({} if settings is None else settings.connectors).items():
        assert settings is not None
        check = getattr(plugins.connectors()[target.connector], "check", None)
        found = check(target.connector_settings, settings.base_dir) if check is not None else []
        problems += [f"{settings.place(f'connectors.{name}')}: {text}" for text in found]
    return problems


def _print_errors(errors: list[dict[str, Any]]) -> None:
    from gateway import plugins

    for error in errors:
        print(error["text"], file=sys.stderr)
    # A plugin that cannot be imported is the likely cause of an unknown driver.
    for problem in plugins.problems() if any("path" in error for error in errors) else ():
        print(f"note: {problem}", file=sys.stderr)


def _without_text(error: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in error.items() if key != "text"}


def _secret_warnings(settings: Settings) -> Iterator[str]:
    """Secrets that this process cannot resolve: a warning, because the daemon's user and variables are others."""
    from config.errors import ConfigError
    from config.secrets import secret_refs

    owners = [(f"sources.{name}", source.driver_settings) for name, source in settings.sources.items()]
    owners += [(f"connectors.{name}", target.connector_settings) for name, target in settings.connectors.items()]
    owners += [("mqtt", settings.mqtt)] if settings.mqtt else []
    for top, owner in owners:
        for path, ref in secret_refs(owner):
            try:
                settings.secrets.resolve(ref, f"{top}.{path}")
            except ConfigError as failure:
                yield f"{failure} (the gateway will need it to start)"


def _summary(settings: Settings) -> dict[str, Any]:
    """What the gateway would do, as plain data."""
    from drivers.limits import described
    from gateway import plugins

    drivers, connectors = plugins.drivers(), plugins.connectors()
    return {
        "digest": settings.digest,
        "gateway": settings.gateway.id,
        "sources": {
            name: {
                "driver": source.driver,
                "template": getattr(source.template, "name", source.template),
                "simulated": drivers[source.driver].simulated(source.driver_settings),
                "signals": list(drivers[source.driver].describe(source.driver_settings)),
                "writable": {
                    key: described(signal.writable)
                    for key, signal in source.driver_settings.signals.items()
                    if getattr(signal, "writable", None) is not None
                },
            }
            for name, source in settings.sources.items()
        },
        "work_units": {
            name: {
                "work_center": rules.work_center,
                "counters": [
                    f"{rule.mode} {rule.signal}: {rule.pieces} {rule.role} a count" for rule in rules.counters
                ],
            }
            for name, rules in settings.work_units.items()
        },
        "connectors": {
            name: {
                "connector": target.connector,
                "describe": list(connectors[target.connector].describe(target.connector_settings)),
            }
            for name, target in settings.connectors.items()
        },
        "mqtt": f"{settings.mqtt.host}:{settings.mqtt.port}" if settings.mqtt else None,
    }


def _summary_lines(settings: Settings) -> Iterator[str]:
    summary = _summary(settings)
    yield f"gateway {summary['gateway']} (plant {settings.gateway.plant}, state in {settings.gateway.state_dir})"
    for name, source in summary["sources"].items():
        template = f", template {source['template']}" if source["template"] else ""
        yield f"source {name}: {source['driver']}{template}{' (simulated)' if source['simulated'] else ''}"
        yield from (f"  {line}" for line in source["signals"])
        yield from (f"  may be written: {signal}: {limits}" for signal, limits in source["writable"].items())
    for name, unit in summary["work_units"].items():
        yield f"work unit {name}: work center {unit['work_center']}"
        yield from (f"  {line}" for line in unit["counters"])
    for name, target in summary["connectors"].items():
        yield f"connector {name}: {target['connector']}"
        yield from (f"  {line}" for line in target["describe"])
    yield f"mqtt: {summary['mqtt'] or 'none'}"
