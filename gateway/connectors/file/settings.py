"""Settings of the file connector, exactly as the configuration file writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from gateway.connectors.file.columns import Column
from gateway.connectors.file.settings_checks import check
from gateway.connectors.mapping.settings import MappingSettings
from gateway.core.duration import Duration
from gateway.core.orders.erp_notice import NoticeType
from gateway.core.secret import SecretRef


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings:
    """An ERP that reads and writes files in a folder: a network share, or a server with SFTP.

    Attributes:
        connector: ``file``.
        folder: base folder, relative to the configuration. It and its sub-folders must exist: they are never made,
            so that a share that is not mounted is noticed.
        url: instead of ``folder``: ``sftp://user@host[:port]/path``. Needs the extra ``sftp``.
        host_key: the server's public key, as in ``known_hosts`` without the name: ``ssh-ed25519 AAAA...``. Needed with
            ``url``: a server is never trusted because it was there first.
        password: where the password for ``url`` is.
        private_key: where the private key for ``url`` is (its text, OpenSSH or PEM).
        passphrase: where the passphrase of the private key is.
        marker_file: a file in the base folder that is there only while the share is mounted; none: the sub-folders are.
        orders_folder: where the ERP puts files with orders; read files move to its ``done`` or ``error``.
        confirmations_folder: where confirmations are put, one file each.
        acknowledgements_folder: where answers to orders are put, one file each; none: the ERP is not told what became
            of them.
        notices: what the ERP is told besides: ``status`` (changes of state), ``quality``, ``unallocated`` (pieces of
            no order), ``reconciliation`` (reports); none: nothing.
        notices_folder: where notices are put, one file with JSON each; needed with ``notices``.
        correction: how the ERP takes a correction of what it has booked. ``cancel``: it takes a booking back, given its
            key; ``negative``: it books quantities below 0; ``manual``: a person does it there, and the correction waits
            in the outbox until he has.
        format: of orders and confirmations: ``csv``, ``fixed`` (lines of fixed length), ``xml`` (by template) or
            ``b2mml`` (version 7).
        columns: of a confirmation's lines, for ``csv`` and ``fixed``; none: the ones that the read-me lists.
        order_columns: of an order's lines; none: the ones that the read-me lists, by their heads.
        header: whether the first line names the columns.
        lines: ``one`` line for a confirmation, or ``reasons``: one for each reason of its scrap.
        quotes: CSV cells in double quotes: where ``needed``, or ``always``.
        line_end: of a written line, ``crlf`` or ``lf``.
        trailer: first cell of a last line with count of lines and sum of quantities; none: no such line. Written, and
            demanded of order files.
        template: for ``xml``: file with the confirmation's text, relative to the configuration.
        order_path: for ``xml``: path of an order's element, such as ``ORDERS/ORDER``.
        operation_path: for ``xml``: path of an operation's element below it; none: an order has one operation.
        namespace: for ``b2mml``: XML namespace of both directions.
        release: for ``b2mml``: releaseID and versionID.
        partner: for ``b2mml``: LogicalID of the sender; none: the gateway's id.
        segment_id: for ``b2mml``: SegmentRequirementID where the order named none; with ``{order}``, ``{sequence}`` and
            ``{operation}``.
        mapping: our units, reasons and work centers in the ERP's words, decimals, activities, and the zone of local
            times; none: everything as it is, numbers exact, the plant's zone.
        delimiter: between the columns.
        encoding: of both directions, such as utf-8, cp1252, cp850 or gb18030.
        unmappable: a character that the encoding cannot carry: ``park`` the confirmation, or ``transliterate`` it
            (ä to ae), and park where that is impossible too.
        decimal_separator: of both directions.
        name_style: of files: ``order`` (order, operation, number, id) or ``gateway`` (CONF_gateway_time_number_id).
        confirmations_trigger: ending of an empty file that is put after the confirmation, such as ``.OK``; none: the
            file's own name is enough.
        append_to: name of one file in the confirmations folder that all confirmations are added to; none: one file
            each.
        semaphore: the file beside it that lets one side at it; needed with ``append_to``.
        semaphore_held: what it is renamed to while linegate writes.
        checksum: a ``.sha256`` file beside each: written before a confirmation, demanded of order files.
        orders_pattern: names of order files, with ``*`` and ``?``; none: ``*.csv``, ``*.txt`` or ``*.xml``, as the
            format is.
        orders_trigger: ending of a file that says an order file is complete, such as ``.OK``; none: the name says so.
        orders_stable: an order file is complete when its size and time have not changed for so long; none: by its name
            or its trigger.
        orders_claim: true: an order file is moved to ``work`` before it is read.
        orders_number: regular expression with one group: the number in an order file's name. Gaps and repeats are
            told; none: not looked at.
        done_by_day: true: read files move to ``done/yyyymmdd``.
        ack: how the ERP says that it booked a confirmation: ``none`` (it does not), ``moved`` (to ``done`` or
            ``error``), ``deleted``, or ``file`` (an ``ACK_`` file).
        receipts_folder: for ``ack: file``: where the ERP puts them.
        ack_booked: words in a receipt's status that mean booked.
        ack_refused: words that mean refused; other words are still waiting.
        wait_for_booking: with an ``ack``: the next confirmation of an operation waits until the one before is booked.
        keep_files: what linegate itself left behind is cleared away when it is older and nothing of it can be asked for
            any more: its traces, what it moved to ``done`` and ``error`` of orders and receipts, files that were
            refused and sent anew, its notices; 1 d and more. null: never.
        timeout: longest wait for the share, 1 s to 2 min; a poll of orders reads up to 20 files in that time.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    connector: Literal["file"]
    folder: str = ""
    url: str | None = None
    host_key: str | None = None
    password: SecretRef | None = None
    private_key: SecretRef | None = None
    passphrase: SecretRef | None = None
    marker_file: str | None = None
    orders_folder: str = "orders"
    confirmations_folder: str = "confirmations"
    acknowledgements_folder: str | None = None
    notices: tuple[NoticeType, ...] = ()
    notices_folder: str | None = None
    correction: Literal["cancel", "negative", "manual"] = "manual"
    format: Literal["csv", "fixed", "xml", "b2mml"] = "csv"
    columns: tuple[Column, ...] = ()
    order_columns: tuple[Column, ...] = ()
    header: bool = True
    lines: Literal["one", "reasons"] = "one"
    quotes: Literal["needed", "always"] = "needed"
    line_end: Literal["crlf", "lf"] = "crlf"
    trailer: str | None = None
    template: str | None = None
    order_path: str | None = None
    operation_path: str | None = None
    namespace: str = "http://www.mesa.org/xml/B2MML"
    release: str = "0700"
    partner: str | None = None
    segment_id: str = "{order}/{sequence}/{operation}"
    mapping: MappingSettings | None = None
    delimiter: Literal[";", ",", "\t", "|"] = ";"
    encoding: str = "utf-8"
    unmappable: Literal["park", "transliterate"] = "park"
    decimal_separator: Literal[".", ","] = "."
    name_style: Literal["order", "gateway"] = "order"
    confirmations_trigger: str | None = None
    append_to: str | None = None
    semaphore: str | None = None
    semaphore_held: str | None = None
    checksum: bool = False
    orders_pattern: str | None = None
    orders_trigger: str | None = None
    orders_stable: Duration | None = None
    orders_claim: bool = False
    orders_number: str | None = None
    done_by_day: bool = False
    ack: Literal["none", "moved", "deleted", "file"] = "none"
    receipts_folder: str = "receipts"
    ack_booked: tuple[str, ...] = ("posted", "booked", "ok", "accepted", "processed", "add")
    ack_refused: tuple[str, ...] = ("refused", "error", "rejected", "failed")
    wait_for_booking: bool = True
    keep_files: Duration | None = Duration("90 d")
    timeout: Duration = Duration("1 min")

    def __post_init__(self) -> None:
        """What a class alone cannot say."""
        check(self)


SUFFIXES: Final = {"csv": ".csv", "fixed": ".txt", "xml": ".xml", "b2mml": ".xml"}
