"""The audit trail: entries, the chain that makes a change of them evident, signatures, export. Keeps nothing itself."""
