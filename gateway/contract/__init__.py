"""The promises of a connector as tests, for connectors of this tree and of others.

``ConnectorContract`` is what every connector does by itself; ``FaultContract`` is what comes out at the target,
with the real outbox and forwarder, whatever happens on the way; ``NoticeContract`` the same of notices.
"""

from gateway.contract.faults import Booked, FaultBench, FaultContract, NoticeBench, NoticeContract
from gateway.contract.promises import ConnectorBench, ConnectorContract, IdempotentContract

__all__ = [
    "Booked",
    "ConnectorBench",
    "ConnectorContract",
    "FaultBench",
    "FaultContract",
    "IdempotentContract",
    "NoticeBench",
    "NoticeContract",
]
