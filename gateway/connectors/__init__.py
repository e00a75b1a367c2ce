"""Connectors: the northbound side. One folder per target; delivery order and retries live in ``gateway/forwarder.py``."""
