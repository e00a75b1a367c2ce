"""Settings of the REST connector, exactly as the configuration file writes them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from gateway.connectors.error_classes import ErrorClass, check_error_classes
from gateway.connectors.mapping.settings import MappingSettings
from gateway.connectors.rest.profile import Profile
from gateway.connectors.rest.profiles import SHIPPED, is_file, shipped
from gateway.connectors.sign_in import SignIn
from gateway.connectors.url import check_url
from gateway.core.duration import Duration
from gateway.core.orders.erp_notice import NoticeType
from gateway.core.secret import SecretRef

if TYPE_CHECKING:
    from gateway.connectors.rest.plan import Plan

TIMEOUT_MAX_NS: Final = Duration("2 min")
KEY_PLACEHOLDER: Final = "{key}"
ORDER_PLACEHOLDER: Final = "{order}"
PATHS: Final = (
    "orders_path",
    "confirmations_path",
    "lookup_path",
    "acknowledgements_path",
    "notices_path",
    "totals_path",
    "health_path",
)
#: The contract that the settings named ``..._path`` belong to.
OWN_PROFILE: Final = "linegate"
#: What only a profile by template has.
BY_TEMPLATE: Final = ("values", "secrets", "sign_in", "mapping")


@dataclass(frozen=True, slots=True, kw_only=True)
class RestSettings:
    """An ERP, or a service in front of it, that speaks JSON over HTTP.

    Attributes:
        connector: ``rest``.
        profile: the contract that is spoken: ``linegate``, ``kingdee``, or a file (``my-mes.yaml``), relative to the
            configuration. The settings named ``..._path`` and ``token`` belong to ``linegate``.
        template: a profile written here instead of a file.
        values: what the profile asks for that is no secret, such as the account set.
        secrets: what the profile asks for that is one: where each is.
        sign_in: how the gateway signs in, unless the profile has a login of its own.
        mapping: units, reasons, work centers, activities and time zone in the ERP's words, for a profile's ``erp.*``.
        error_classes: codes of errors to what they mean; goes before the profile's own table.
        url: base address, such as https://erp.example.com/linegate.
        orders_path: where released orders are read.
        confirmations_path: where confirmations are posted.
        lookup_path: where a confirmation is looked up; ``{key}`` stands for its key.
        acknowledgements_path: where answers to orders are posted; none: the ERP is not told what became of them.
        notices: what the ERP is told besides: ``status`` (changes of state), ``quality``, ``unallocated`` (pieces of
            no order), ``reconciliation`` (reports); none: nothing. A profile by template says with ``notice`` how.
        notices_path: where notices are posted.
        totals_path: where the ERP says what it has booked of an order; ``{order}`` stands for its number; none: it
            cannot be asked, and nothing is reconciled.
        health_path: a harmless question for a probe.
        correction: how the ERP takes a correction of what it has booked. ``cancel``: it takes a booking back, given its
            key; ``negative``: it books quantities below 0; ``manual``: a person does it there, and the correction waits
            in the outbox until he has.
        token: where the bearer token is; none: no Authorization header.
        idempotent: true if the target itself books a repeated key only once; then nothing is looked up before a repeat.
        timeout: longest wait for a complete answer, 1 s to 2 min.
        server_time_limit: how long the target may still work on a request whose answer was lost.
        ca_file: PEM file of the authority that signed the target's certificate, relative to the configuration.
        insecure: true allows plain http to another machine.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    connector: Literal["rest"]
    profile: str = OWN_PROFILE
    template: Profile | None = None
    values: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, SecretRef] = field(default_factory=dict)
    sign_in: SignIn = field(default_factory=SignIn)
    mapping: MappingSettings = field(default_factory=MappingSettings)
    error_classes: dict[str, ErrorClass] = field(default_factory=dict)
    url: str
    orders_path: str = "/orders"
    confirmations_path: str = "/confirmations"
    lookup_path: str = "/confirmations/{key}"
    acknowledgements_path: str | None = None
    notices: tuple[NoticeType, ...] = ()
    notices_path: str = "/notices"
    totals_path: str | None = None
    health_path: str = "/health"
    correction: Literal["cancel", "negative", "manual"] = "manual"
    token: SecretRef | None = None
    idempotent: bool = False
    timeout: Duration = Duration("30 s")
    server_time_limit: Duration = Duration("30 s")
    ca_file: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        """What a class alone cannot say."""
        check_url(self.url, insecure=self.insecure)
        check_error_classes(self.error_classes)
        self._check_profile()
        for name in PATHS:
            path = getattr(self, name)
            if path is not None and (
                not path.startswith("/") or not path.isascii() or any(character in path for character in "?# \t\r\n")
            ):
                raise ValueError(f"{name}: found {path!r}, allowed: a path that starts with / and has no ?, # or space")
        if self.lookup_path.count(KEY_PLACEHOLDER) != 1:
            raise ValueError(f"lookup_path: found {self.lookup_path!r}, allowed: a path with {KEY_PLACEHOLDER} once")
        if self.totals_path is not None and self.totals_path.count(ORDER_PLACEHOLDER) != 1:
            raise ValueError(f"totals_path: found {self.totals_path!r}, allowed: a path with {ORDER_PLACEHOLDER} once")
        if not Duration("1 s") <= self.timeout <= TIMEOUT_MAX_NS:
            raise ValueError(f"timeout: found {self.timeout}, allowed 1 s to {TIMEOUT_MAX_NS}")

    @property
    def by_template(self) -> bool:
        """Whether another contract is spoken than that of the profile ``linegate``."""
        return self.template is not None or self.profile != OWN_PROFILE

    def plan_of(self, profile: Profile) -> Plan:
        """A profile made ready for these settings. Raises ValueError."""
        from gateway.connectors.rest.plan import PlanError, plan_of

        plan = plan_of(profile, self.values, self.secrets, idempotent=self.idempotent)
        if self.notices and plan.notice is None:
            raise PlanError(f"notices: found {', '.join(self.notices)}, allowed: none; the profile has no notice")
        if self.correction == "cancel" and not plan.reversal:
            raise PlanError("correction: found cancel, allowed: manual; the profile has no steps for a reversal")
        return plan

    def _check_profile(self) -> None:
        if self.template is not None and self.profile != OWN_PROFILE:
            raise ValueError("profile, template: found both, allowed: one of them")
        if not self.by_template:
            for name in BY_TEMPLATE:
                if getattr(self, name) not in ({}, SignIn(), MappingSettings()):
                    raise ValueError(
                        f"{name}: belongs to a profile by template, found profile {OWN_PROFILE}; leave it out"
                    )
            return
        self._check_own_names()
        if self.template is not None:
            self.plan_of(self.template)
        elif self.profile in SHIPPED:
            self.plan_of(shipped(self.profile))
        elif not is_file(self.profile):
            names = ", ".join((OWN_PROFILE, *SHIPPED))
            raise ValueError(f"profile: found {self.profile!r}, allowed: {names}, or a file that ends with .yaml")

    def _check_own_names(self) -> None:
        usual = {one.name: one.default for one in fields(self)}
        for name in (*PATHS, "token"):
            if getattr(self, name) != usual[name]:
                raise ValueError(f"{name}: belongs to the profile {OWN_PROFILE}, found {self.profile}; leave it out")
        if self.correction == "negative":
            raise ValueError("correction: found negative, allowed with a profile by template: cancel, manual")
