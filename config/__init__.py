"""The configuration: its grammar, its loader, and errors that say where, what was found and what is allowed."""
