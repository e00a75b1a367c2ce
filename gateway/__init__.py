"""linegate: machine counters become production-order confirmations in the ERP, and no piece is lost on the way."""

__version__ = "0.1.0"
