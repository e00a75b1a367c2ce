"""Simulated machines, a fake ERP and a small broker: processes of their own that import nothing of the gateway."""
