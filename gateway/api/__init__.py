"""The local HTTP API: the verbs of the gateway for screens and programs, over HTTP with bearer tokens."""
