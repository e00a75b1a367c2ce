"""The gateway's clock, what UTC that is, and who tells the work units."""
