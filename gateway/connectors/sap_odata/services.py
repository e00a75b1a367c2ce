"""The names of SAP's services for production orders and for process orders, side by side. Data only."""

from __future__ import annotations

from typing import Final, NamedTuple

#: Under the address of the system.
ROOT: Final = "/sap/opu/odata/sap/"
#: Categories of orders: what ``ManufacturingOrderCategory`` says.
PRODUCTION_CATEGORY: Final = "10"
PROCESS_CATEGORY: Final = "40"


class Service(NamedTuple):
    """One kind of orders: two services, their sets, navigations and functions."""

    word: str
    category: str
    orders: str
    order_set: str
    to_operations: str
    to_components: str
    to_items: str
    confirmations: str
    confirmation_set: str
    to_movements: str
    cancel: str

    @property
    def order_path(self) -> str:
        """Where orders are read."""
        return f"{ROOT}{self.orders}/{self.order_set}"

    @property
    def confirmation_root(self) -> str:
        """The service document of the confirmations: the token is fetched there."""
        return f"{ROOT}{self.confirmations}/"

    @property
    def confirmation_path(self) -> str:
        """Where confirmations are posted and looked up."""
        return f"{ROOT}{self.confirmations}/{self.confirmation_set}"

    @property
    def cancel_path(self) -> str:
        """The function that takes a confirmation back."""
        return f"{ROOT}{self.confirmations}/{self.cancel}"


PRODUCTION: Final = Service(
    word="production",
    category=PRODUCTION_CATEGORY,
    orders="API_PRODUCTION_ORDER_2_SRV",
    order_set="A_ProductionOrder_2",
    to_operations="to_ProductionOrderOperation",
    to_components="to_ProductionOrderComponent",
    to_items="to_ProductionOrderItem",
    confirmations="API_PROD_ORDER_CONFIRMATION_2_SRV",
    confirmation_set="ProdnOrdConf2",
    to_movements="to_ProdnOrdConfMatlDocItm",
    cancel="CancelProdnOrdConf",
)
PROCESS: Final = Service(
    word="process",
    category=PROCESS_CATEGORY,
    orders="API_PROCESS_ORDER_2_SRV",
    order_set="A_ProcessOrder_2",
    to_operations="to_ProcessOrderOperation",
    to_components="to_ProcessOrderComponent",
    to_items="to_ProcessOrderItem",
    confirmations="API_PROC_ORDER_CONFIRMATION_2_SRV",
    confirmation_set="ProcOrdConf2",
    to_movements="to_ProcOrdConfMatlDocItm",
    cancel="CancelProcOrdConf",
)
BY_SETTING: Final = {"production": (PRODUCTION,), "process": (PROCESS,), "both": (PRODUCTION, PROCESS)}
SERVICES: Final = (PRODUCTION, PROCESS)
#: A message names where it goes: the set of a confirmation, or the function of a cancellation.
BY_MESSAGE: Final = {name: one for one in SERVICES for name in (one.confirmation_set, one.cancel)}
