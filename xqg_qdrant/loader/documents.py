"""What is kept with a collection beside its points: manifest, journal, statistics, lengths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xqg_qdrant.collection import CollectionManifest
from xqg_qdrant.corpus.checks import MAX_COUNT, check_whole
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.errors import CollectionMismatch, InputError, StorageError
from xqg_qdrant.loader.journal import JOURNAL, Journal

MANIFEST = "manifest"
STATISTICS = "statistics"
LEXICAL = "lexical"
COPY = "copy"
"""How far a copy of another collection came."""

BUILD = "build"
"""Says what a collection was built to replace."""


def read_manifest(engine: Engine, name: str) -> CollectionManifest:
    """The manifest of a collection.

    Raises:
        CollectionNotFound: there is no such collection.
        CollectionMismatch: it was not made by xqg-qdrant, or by a release too new or too old.
    """
    row = engine.read_document(name, MANIFEST)
    if row is None:
        raise CollectionMismatch(
            f"collection {name!r} at {engine.location} has no manifest, xqg-qdrant did not make "
            "it: choose another name. If it did and the manifest was lost, delete the collection "
            f"('xqg delete -c {name}') and ingest it again"
        )
    return CollectionManifest.from_json(row, name)


def read_journal(engine: Engine, name: str) -> Journal | None:
    """The journal of the last ingest into a collection, if there is one.

    Raises:
        StorageError: it is damaged.
    """
    try:
        row = engine.read_document(name, JOURNAL)
    except StorageError as error:
        raise StorageError(
            f"{error}; or, where nothing but the journal is damaged, ingest the same again with "
            "--restart (restart=True)"
        ) from error
    return None if row is None else Journal.from_json(row, name)


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was in a collection when its last ingest was complete.

    Attributes:
        passages: how many.
        queries: of all passages, by language.
    """

    passages: int
    queries: Mapping[str, int]

    @property
    def all_queries(self) -> int:
        """In all languages."""
        return sum(self.queries.values())

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"passages": self.passages, "queries": dict(sorted(self.queries.items()))}


def read_statistics(engine: Engine, name: str) -> Statistics:
    """What was in a collection after its last complete ingest; nothing if there was none.

    Raises:
        StorageError: the document is damaged.
    """
    row = engine.read_document(name, STATISTICS)
    if row is None:
        return Statistics(0, {})
    try:
        return Statistics(
            check_whole(row["passages"], "passages", 0, MAX_COUNT),
            {lang: check_whole(n, lang, 0, MAX_COUNT) for lang, n in row["queries"].items()},
        )
    except (KeyError, AttributeError, InputError) as error:
        raise StorageError(
            f"the statistics of collection {name!r} are damaged ({error!s:.200}): ingest again"
        ) from None


def read_lengths(engine: Engine, name: str) -> dict[str, float]:
    """The mean number of terms of a hybrid collection's passages, by field.

    They are those of the ingest that first had the field, and stay: vectors hang on them.

    Raises:
        StorageError: the document is damaged or missing.
    """
    row = engine.read_document(name, LEXICAL)
    try:
        if row is None:
            raise KeyError("there are none")
        lengths = {str(field): float(length) for field, length in row["lengths"].items()}
        if not all(0.0 < length < math.inf for length in lengths.values()):
            raise ValueError("a length is not above 0")
        return lengths
    except (KeyError, AttributeError, TypeError, ValueError, OverflowError) as error:
        raise StorageError(
            f"the mean lengths of collection {name!r} are damaged ({error!s:.200}): delete the "
            f"collection ('xqg delete -c {name}') and ingest it again"
        ) from None
