"""What a profile may say: requests, what their answers mean, how orders and sums are read. Settings classes only.

A profile is data: a file of YAML, or the section ``template`` of a target. What its templates mean is ``plan.py``'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from gateway.connectors.error_classes import ErrorClass
from gateway.connectors.rest.tree import Condition
from gateway.core.duration import Duration

FORBID: Final[dict[str, Any]] = {"extra": "forbid"}
#: Orders of one request, and requests of one fetch, at most.
PAGE_SIZE_MAX: Final = 5000
PAGES_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; every text in it is a template. At most one of ``json``, ``form`` and ``xml``.

    Attributes:
        method: of HTTP.
        path: behind the target's url; it may hold a query of its own, percent-encoded.
        query: names to values, encoded as they must be.
        headers: further headers.
        json: the body as a tree.
        form: the body as a form.
        xml: the body as a text of XML; what is filled in is escaped.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    path: str
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    json: Any = None
    form: dict[str, str] | None = None
    xml: str | None = None

    def __post_init__(self) -> None:
        """What a class alone cannot say."""
        if sum(body is not None for body in (self.json, self.form, self.xml)) > 1:
            raise ValueError("found more than one of json, form and xml, allowed: at most one")
        if not self.path.startswith("/") or any(one.isspace() or one == "#" for one in self.path):
            raise ValueError(f"path: found {self.path!r}, allowed: a path that starts with / and has no space and no #")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an answer means. A key that is left out is taken from the profile's own ``answer``.

    Attributes:
        ok: what must hold in an answer with a status of success; where nothing is told at its path, it is unclear.
        failed: what must not hold.
        accepted: where it holds, the message was taken over and is not yet booked.
        expired: where it holds, the session has ended: sign in again, and ask again.
        code: paths of the error's codes, by which it is classified.
        message: path of the error's text, for a person.
        reference: paths of the reference, joined by ``/``; without them the key is the reference.
        goods_error: paths of why the target booked it without its material; empty or not there: it did not.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID

    ok: Condition | None = None
    failed: Condition | None = None
    accepted: Condition | None = None
    expired: Condition | None = None
    code: tuple[str, ...] = ()
    message: str | None = None
    reference: tuple[str, ...] = ()
    goods_error: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp:
    """Whether a step is booked. It is only where a row says so, and it is not only where a right answer has none.

    Attributes:
        request: the question; it may name the posting's fields only (key, message_id, order, operation, seq).
        answer: what the answer means.
        rows: path of the rows; none: the answer itself is the one row.
        match: path in a row to a template: only rows that are the same count, whatever the target was asked.
        booked: where it holds in a row, the step is booked; none: every row that matches is booked.
        pending: where it holds, the target still works on it.
        refused: where it holds, the target has refused it after all.
        reference: paths in the row, joined by ``/``.
        goods_error: paths in the row of why it is booked without its material.
        code: path in the row of a refusal's code.
        absent_status: statuses that say that there is nothing under this key.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID

    request: Request
    answer: Answer = field(default_factory=Answer)
    rows: str | None = None
    match: dict[str, str] = field(default_factory=dict)
    booked: Condition | None = None
    pending: Condition | None = None
    refused: Condition | None = None
    reference: tuple[str, ...] = ()
    goods_error: tuple[str, ...] = ()
    code: str | None = None
    absent_status: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """Holds where a field of the confirmation, or a value, is one of some words.

    Attributes:
        field: the field.
        any_of: the words; "" is an empty one.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID

    field: str
    any_of: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One message of a confirmation; the next one leaves when it is booked.

    Attributes:
        name: of letters, digits and _; later steps name its reference ``step.NAME``.
        request: the message.
        answer: what its answer means.
        lookup: how it is looked up; needed unless it is ``repeatable``.
        repeatable: to send it twice books nothing twice, so that it is repeated without a look-up.
        for_each: a list of the confirmation: one message for each member, which is called ``row`` in it.
        when: only confirmations for which it holds have this step.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID

    name: str
    request: Request
    answer: Answer = field(default_factory=Answer)
    lookup: LookUp | None = None
    repeatable: bool = False
    for_each: str | None = None
    when: When | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeMessage:
    """How a notice is told: one message, which is sent again without a look-up where its end is unclear.

    Attributes:
        request: the message; its templates name the fields of a notice.
        answer: what its answer means; it needs no reference.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID

    request: Request
    answer: Answer = field(default_factory=Answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """How released orders are read.

    Attributes:
        request: the question; it may name ``cursor``, ``offset``, ``page``, ``size`` and ``next``.
        answer: what the answer means.
        rows: path of the rows.
        group: a template over ``row``: rows with the same text are one order, ``row`` is the first and ``rows`` all.
        order: the order in the form that the profile ``linegate`` reads, as a template over ``row`` and ``rows``.
        cursor: a template over ``row`` that only grows, such as the time of the last change; the question asks for what
            is equal or higher. None: everything is asked for each time.
        first_cursor: the cursor of the first question.
        next: path of what the next page of the same question needs; none: pages are counted by ``offset``.
        page_size: rows of one page; a page with fewer is the last one.
        pages: pages of one question at most.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID

    request: Request
    answer: Answer = field(default_factory=Answer)
    rows: str
    group: str | None = None
    order: dict[str, Any]
    cursor: str | None = None
    first_cursor: str = ""
    next: str | None = None
    page_size: int = 500
    pages: int = 20

    def __post_init__(self) -> None:
        """Bounds."""
        for name, most in (("page_size", PAGE_SIZE_MAX), ("pages", PAGES_MAX)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name}: found {getattr(self, name)}, allowed 1 to {most}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What the target has booked of an order.

    Attributes:
        request: the question; it may name ``order``.
        answer: what the answer means.
        rows: path of the rows; those of one operation are added up.
        operation: a template over ``row``: its operation.
        good: a template over ``row``: good pieces.
        scrap: a template over ``row``: scrap.
        rework: a template over ``row``: rework.
        unknown_status: statuses that say that there is no such order.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID

    request: Request
    answer: Answer = field(default_factory=Answer)
    rows: str
    operation: str
    good: str = "0"
    scrap: str = "0"
    rework: str = "0"
    unknown_status: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Signing in by a message of the target's own. Cookies that it sets go with every request behind it.

    Attributes:
        request: the message; it may name ``value.*`` and ``secret.*``.
        answer: what the answer means; what is not ``ok`` is refused credentials.
        token: path of a token in the answer; none: the cookies are all.
        header: where the token goes.
        prefix: what stands before it.
        lifetime: after so long it is signed in again before the next request.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID

    request: Request
    answer: Answer = field(default_factory=Answer)
    token: str | None = None
    header: str = "Authorization"
    prefix: str = "Bearer "
    lifetime: Duration = Duration("10 min")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A harmless question.

    Attributes:
        request: the question.
        answer: what the answer means.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID

    request: Request
    answer: Answer = field(default_factory=Answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A target's contract.

    Attributes:
        values: names of the values that its templates use, and what they are unless the target's settings say
            otherwise; null: the settings must say it.
        tables: words of ours to the target's, for the filter ``table``; ``*`` is every other word.
        errors: codes and statuses to what they mean, before the settings' own ``error_classes``.
        answer: what an answer means, wherever a request does not say otherwise.
        login: a message to sign in with.
        orders: how orders are read; none: there are none.
        steps: the messages of a confirmation, in sequence.
        reversal: the messages that take a confirmation back; none: a person does it there.
        notice: how a notice is told to who names ``notices``; none: nothing is told besides.
        totals: how sums are read; none: nothing is reconciled.
        probe: a harmless question.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID

    values: dict[str, str | None] = field(default_factory=dict)
    tables: dict[str, dict[str, str]] = field(default_factory=dict)
    errors: dict[str, ErrorClass] = field(default_factory=dict)
    answer: Answer = field(default_factory=Answer)
    login: Login | None = None
    orders: Orders | None = None
    steps: tuple[Step, ...]
    reversal: tuple[Step, ...] = ()
    notice: NoticeMessage | None = None
    totals: Totals | None = None
    probe: Probe
