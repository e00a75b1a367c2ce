"""What the settings of the file connector must fulfil together. Pure; no file is looked at."""

from __future__ import annotations

import codecs
import importlib.util
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gateway.connectors.file.columns import COLUMNS_MAX
from gateway.connectors.file.fields import FIELDS
from gateway.connectors.file.order_rows import ORDER_FIELDS
from gateway.core.duration import Duration

if TYPE_CHECKING:
    from gateway.connectors.file.settings import FileSettings

TIMEOUT_MAX_NS: Final = Duration("2 min")
FOLDER_NAME_FORBIDDEN: Final = frozenset("/\\\0")
FOLDERS: Final = (
    "orders_folder",
    "confirmations_folder",
    "acknowledgements_folder",
    "notices_folder",
    "receipts_folder",
)
PLAIN_NAMES: Final = ("marker_file", "append_to", "semaphore", "semaphore_held")
ENDING: Final = re.compile(r"\.[A-Za-z0-9]{1,10}")


def check(settings: FileSettings) -> None:
    """Raises ValueError, naming the setting, what was found and what is allowed."""
    _check_place(settings)
    _check_names(settings)
    _check_text(settings)
    _check_columns(settings)
    _check_format(settings)
    _check_handover(settings)


def _check_place(settings: FileSettings) -> None:
    if settings.url is None:
        if not settings.folder:
            raise ValueError("folder: is empty, allowed: a path, or url: sftp://user@host/path instead")
        used = [name for name in ("host_key", "password", "private_key", "passphrase") if getattr(settings, name)]
        if used:
            raise ValueError(f"{', '.join(used)}: found without url, allowed: only with url: sftp://user@host/path")
        return
    if settings.folder:
        raise ValueError("folder and url: found both, allowed: one of them")
    _check_url(settings.url)
    if importlib.util.find_spec("asyncssh") is None:
        raise ValueError("url: needs the extra sftp, which is not installed; pip install 'linegate[sftp]'")
    if not settings.host_key:
        raise ValueError("host_key: is missing, allowed: the server's public key, such as ssh-ed25519 AAAA...")
    if settings.password is None and settings.private_key is None:
        raise ValueError("password, private_key: are both missing, allowed: one of them at least")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"url: found {url!r}: {error}; allowed: sftp://user@host[:port]/path") from error
    if parts.password is not None:
        raise ValueError("url: holds a password; name a secret instead (password:)")
    if parts.scheme != "sftp" or not host or not parts.username or parts.query or parts.fragment:
        raise ValueError(f"url: found {url!r}, allowed: sftp://user@host[:port]/path")


def _check_names(settings: FileSettings) -> None:
    if settings.notices and settings.notices_folder is None:
        raise ValueError(
            "notices: found without notices_folder, allowed: only with it; name a folder, or leave them out"
        )
    named = {name: getattr(settings, name) for name in FOLDERS if getattr(settings, name) is not None}
    if settings.ack != "file":
        named.pop("receipts_folder")
    for name, found in named.items():
        if not _plain(found):
            raise ValueError(f"{name}: found {found!r}, allowed: the name of one sub-folder")
    if len(set(named.values())) < len(named):
        raise ValueError(f"{', '.join(named)}: found one folder twice, allowed: two different folders")
    for name in PLAIN_NAMES:
        found = getattr(settings, name)
        if found is not None and not (_plain(found) if name != "marker_file" else _plain(found.removeprefix("."))):
            raise ValueError(f"{name}: found {found!r}, allowed: the name of one file")
    for name in ("confirmations_trigger", "orders_trigger"):
        found = getattr(settings, name)
        if found is not None and not ENDING.fullmatch(found):
            raise ValueError(f"{name}: found {found!r}, allowed: an ending such as .OK")


def _plain(name: str) -> bool:
    return bool(name) and not name.startswith(".") and not FOLDER_NAME_FORBIDDEN & set(name)


def _check_text(settings: FileSettings) -> None:
    if settings.delimiter == settings.decimal_separator:
        raise ValueError("delimiter and decimal_separator: are the same, allowed: two different characters")
    if not Duration("1 s") <= settings.timeout <= TIMEOUT_MAX_NS:
        raise ValueError(f"timeout: found {settings.timeout}, allowed 1 s to {TIMEOUT_MAX_NS}")
    try:
        is_text = codecs.lookup(settings.encoding)._is_text_encoding  # noqa: SLF001 - the only place that tells base64 from a code page
    except LookupError:
        is_text = False
    if not is_text or "\n;1".encode(settings.encoding) != b"\n;1":
        raise ValueError(f"encoding: found {settings.encoding!r}, allowed: utf-8 or a code page such as cp1252, cp850")


def _check_columns(settings: FileSettings) -> None:
    for name in ("columns", "order_columns"):
        known = FIELDS if name == "columns" else ORDER_FIELDS
        found = getattr(settings, name)
        if len(found) > COLUMNS_MAX:
            raise ValueError(f"{name}: found {len(found)}, allowed at most {COLUMNS_MAX}")
        for number, column in enumerate(found, start=1):
            if column.value is not None and column.value not in known:
                allowed = ", ".join(sorted(known))
                raise ValueError(f"{name}: found value {column.value!r}, allowed: {allowed}")
            if settings.format == "fixed" and column.width is None:
                told = column.name or column.value or column.constant
                raise ValueError(f"{name}: found {told!r} (column {number}) without width, which fixed length needs")


def _check_format(settings: FileSettings) -> None:
    kind = settings.format
    if kind == "fixed" and not (settings.columns and settings.order_columns):
        raise ValueError("columns, order_columns: are missing, allowed with format fixed: every field with its width")
    if kind == "csv" and not settings.header and not settings.order_columns:
        raise ValueError("order_columns: is missing, allowed without header: every column in its sequence")
    if kind == "xml" and not (settings.template and settings.order_path and settings.order_columns):
        raise ValueError("template, order_path, order_columns: one is missing, allowed with format xml: all three")
    if kind != "xml" and (settings.template or settings.order_path or settings.operation_path):
        raise ValueError("template, order_path, operation_path: found without format xml, allowed: only with it")
    _check_xml(settings)
    if "{operation}" not in settings.segment_id:
        raise ValueError(f"segment_id: found {settings.segment_id!r}, allowed: with {{operation}}")


def _check_xml(settings: FileSettings) -> None:
    kind = settings.format
    if kind == "b2mml" and (settings.columns or settings.order_columns):
        raise ValueError("columns, order_columns: found with format b2mml, which has its own fields; allowed: none")
    if kind == "b2mml" and settings.encoding.lower().replace("_", "-") not in {"utf-8", "utf8"}:
        raise ValueError(f"encoding: found {settings.encoding!r} with format b2mml, allowed: utf-8")
    if kind in {"xml", "b2mml"} and (settings.trailer is not None or settings.append_to is not None):
        raise ValueError(f"trailer, append_to: found with format {kind}, allowed: with csv and fixed")


def _check_handover(settings: FileSettings) -> None:
    parts = (settings.append_to, settings.semaphore, settings.semaphore_held)
    if any(parts) and not (all(parts) and len(set(parts)) == len(parts)):
        raise ValueError("append_to, semaphore, semaphore_held: found some of them, allowed: three different names")
    if settings.append_to is not None and settings.ack not in {"none", "file"}:
        raise ValueError(f"ack: found {settings.ack} with append_to, allowed: none, file")
    if settings.append_to is not None and (settings.confirmations_trigger or settings.checksum or settings.trailer):
        raise ValueError("confirmations_trigger, checksum, trailer: found with append_to, allowed: none of them")
    if settings.orders_number is not None:
        try:
            groups = re.compile(settings.orders_number).groups
        except re.error as error:
            raise ValueError(f"orders_number: found {settings.orders_number!r}: {error}") from error
        if groups != 1:
            raise ValueError(f"orders_number: found {settings.orders_number!r} with {groups} groups, allowed: one")
    if settings.orders_stable is not None and not Duration("1 s") <= settings.orders_stable <= Duration("1 h"):
        raise ValueError(f"orders_stable: found {settings.orders_stable}, allowed 1 s to 1 h")
    if settings.keep_files is not None and settings.keep_files < Duration("1 d"):
        raise ValueError(f"keep_files: found {settings.keep_files}, allowed 1 d and more, or null")
    both = {word.lower() for word in settings.ack_booked} & {word.lower() for word in settings.ack_refused}
    if both or not settings.ack_booked or not settings.ack_refused:
        raise ValueError(f"ack_booked, ack_refused: found {sorted(both)} in both, allowed: words of their own in each")
