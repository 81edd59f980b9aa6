"""All targets, by name; importing them builds what they spoil."""

from __future__ import annotations

from tests.bad_input.fuzz import collections, models, parquet, readers, servers

_MODULES = (readers, parquet, models, collections, servers)

ALL = {each.name: each for module in _MODULES for each in module.TARGETS}
