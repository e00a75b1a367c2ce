"""Alerts: tells a chat or a program that something needs a person. No count and no posting depends on it."""
