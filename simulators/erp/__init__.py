"""ERP doubles: one fake per contract, each with a durable ledger and faults on command."""
