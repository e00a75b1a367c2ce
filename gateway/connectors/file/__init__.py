"""Files: orders and confirmations as CSV, lines of fixed length or XML, in a shared folder or over SFTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.connectors.base import ConnectorType, MappingError
from gateway.connectors.file.settings import SUFFIXES, FileSettings

if TYPE_CHECKING:
    from gateway.connectors.base import Connector, ConnectorContext


def _build(settings: FileSettings, context: ConnectorContext) -> Connector:
    from gateway.connectors.file.connector import FileConnector

    return FileConnector(settings, context)


def _describe(settings: FileSettings) -> list[str]:
    where = settings.folder or settings.url
    pattern = settings.orders_pattern or f"*{SUFFIXES[settings.format]}"
    to = f"added to {settings.append_to}" if settings.append_to else "one file each"
    booked = {
        "none": "nobody says whether they are booked",
        "moved": "booked when they are in done, refused in error",
        "deleted": "booked when they are gone",
        "file": f"booked or refused by ACK_ files in {settings.receipts_folder}",
    }[settings.ack]
    return [
        f"orders from {where}/{settings.orders_folder}/{pattern}, moved to done or error",
        f"confirmations to {where}/{settings.confirmations_folder} as {settings.format}, {to}; {booked}",
    ]


def _check(settings: FileSettings, base_dir: Path) -> list[str]:
    """What is wrong in the template's file."""
    if settings.template is None:
        return []
    from gateway.connectors.file.xml_out import faults, read_template

    path = base_dir / Path(settings.template).expanduser()
    try:
        wrong = faults(read_template(path))
    except MappingError as error:
        return [str(error)]
    return [f"template: {path}: {wrong}"] if wrong else []


PLUGIN = ConnectorType(name="file", settings=FileSettings, build=_build, describe=_describe, check=_check)
