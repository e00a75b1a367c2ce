"""Monitoring over MQTT: what the gateway shows of itself and of the line. Nothing production-relevant depends on it."""

from gateway.monitor.publisher import Monitor
from gateway.monitor.settings import MonitorSettings

__all__ = ["Monitor", "MonitorSettings"]
