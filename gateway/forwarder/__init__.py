"""The forwarder: takes what is committed in the outbox to one target, in order, and settles how it ended."""

from gateway.forwarder.budget import FailureBudget
from gateway.forwarder.policy import ForwarderSettings, ForwarderTimings
from gateway.forwarder.supervisor import Forwarder
from gateway.forwarder.target_status import Link, TargetStatus

__all__ = ["FailureBudget", "Forwarder", "ForwarderSettings", "ForwarderTimings", "Link", "TargetStatus"]
