"""Grammars of configurations that are made once a process: to make one takes longer than all that is done with it.

The program itself makes one for each file that it loads, and keeps none: a gateway loads one file, and two megabytes
would stay. A test process loads hundreds, most of them with the same plugins.
"""

from __future__ import annotations

import functools

from config import loader

#: Two megabytes each.
KEPT = 16


def remember():
    """From here on, this process and its forks make a grammar once."""
    loader._grammar = _remembered(loader._grammar)
    loader._described = _remembered(loader._described)


def _remembered(make):
    @functools.lru_cache(KEPT)
    def once(*kinds):
        return make(*map(dict, kinds))

    # Types of plugins are not all hashable; what the grammar is made of are their names and classes of settings.
    def made(*kinds):
        return once(*(tuple((name, _Kind(one)) for name, one in kind.items()) for kind in kinds))

    return made


class _Kind:
    """A plugin as its grammar sees it."""

    def __init__(self, kind):
        self.name, self.settings = kind.name, kind.settings

    def __eq__(self, other):
        return (self.name, self.settings) == (other.name, other.settings)

    def __hash__(self):
        return hash((self.name, self.settings))
