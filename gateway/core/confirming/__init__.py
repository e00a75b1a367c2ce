"""Confirmations: when one is made, how long it waits, what a final one asks for, how one is put right afterwards."""
