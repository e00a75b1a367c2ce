"""The names of this fake SAP's services: production orders and process orders, side by side. Data only."""

from __future__ import annotations

from typing import Final, NamedTuple


class Kind(NamedTuple):
    """The names of one kind of orders."""

    process: bool
    orders: str
    order_set: str
    nav: str
    confirmations: str
    confirmation_set: str
    cancel: str
    movements: str


PRODUCTION: Final = Kind(
    process=False,
    orders="API_PRODUCTION_ORDER_2_SRV",
    order_set="A_ProductionOrder_2",
    nav="to_ProductionOrder",
    confirmations="API_PROD_ORDER_CONFIRMATION_2_SRV",
    confirmation_set="ProdnOrdConf2",
    cancel="CancelProdnOrdConf",
    movements="to_ProdnOrdConfMatlDocItm",
)
PROCESS: Final = Kind(
    process=True,
    orders="API_PROCESS_ORDER_2_SRV",
    order_set="A_ProcessOrder_2",
    nav="to_ProcessOrder",
    confirmations="API_PROC_ORDER_CONFIRMATION_2_SRV",
    confirmation_set="ProcOrdConf2",
    cancel="CancelProcOrdConf",
    movements="to_ProcOrdConfMatlDocItm",
)
KINDS: Final = (PRODUCTION, PROCESS)
