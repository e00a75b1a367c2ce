"""Connectors: the northbound side, one folder per target. Delivery order and retries live in ``gateway/forwarder``."""
