"""All targets, by name; importing them builds what they spoil."""

from __future__ import annotations

from tests.bad_input.fuzz import collections, models, parquet, readers

ALL = {
    each.name: each for module in (readers, parquet, models, collections) for each in module.TARGETS
}
