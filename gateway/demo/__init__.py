"""The demo: bundled simulators, a fake ERP, a broker and the real daemon, each in its own process."""
