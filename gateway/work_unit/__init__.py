"""The shell around one work unit: inputs in, one transaction a step, announcements out."""
