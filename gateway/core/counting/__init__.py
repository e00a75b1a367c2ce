"""Counting modes, one module each: from sampled values to counts. A detector is pure and of one small shape."""
