"""How an engine keeps the vectors of a collection: quantisation, disk, HNSW, shards.

The settings are chosen when a collection is made and kept with it, so that one that is opened
again behaves the same. See https://qdrant.tech/documentation/guides/quantization/ and
https://qdrant.tech/documentation/guides/distributed_deployment/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from xqg_qdrant.errors import CollectionMismatch, InputError, StorageError

STORAGE = "storage"
"""The key of the document that holds the settings of a collection."""

NONE, INT8, AUTO = "none", "int8", "auto"
QUANTIZATIONS = (NONE, INT8, AUTO)

QUANTIZE_FROM = 10_000
"""Points from which ``auto`` quantises: measured, see ``docs/scale.md``."""

BOUNDS: Mapping[str, tuple[int, int]] = {
    "hnsw_m": (0, 256),
    "hnsw_ef_construct": (4, 4_096),
    "hnsw_ef": (1, 10_000),
    "indexing_threshold": (1, 2**31),
    "shards": (1, 4_096),
    "replication_factor": (1, 64),
    "write_consistency_factor": (1, 64),
}
"""Least and greatest value of each whole number among the settings."""

LEAST_OVERSAMPLING, MOST_OVERSAMPLING = 2.0, 64.0

_SERVER_ONLY = ("shards", "replication_factor", "write_consistency_factor")


@dataclass(frozen=True, slots=True)
class Storage:
    """Settings of a collection; None is the default, or what an existing collection has.

    Dense vectors and multivectors alike; sparse ones are never quantised. Exact searches never
    use quantised vectors, nor graphs.

    Attributes:
        quantization: ``int8`` keeps a byte a number beside the vectors, to find candidates that
            are then scored with the vectors themselves; ``auto`` (default) does so from
            :data:`QUANTIZE_FROM` points on, when the collection is optimised; ``none`` never.
        oversampling: quantised candidates fetched per hit wanted; 2 by default, and at least.
        on_disk: vectors are read from disk when needed, not kept in memory ahead; quantised ones
            are then held in memory. False by default.
        hnsw_m: edges of a node of the HNSW graph, 16 by default; 0 builds no graph.
        hnsw_ef_construct: candidates looked at for each node while building it, 100 by default.
        hnsw_ef: candidates looked at by a search, 512 by default.
        indexing_threshold: kB of a vector's data in a segment from which a graph is built; 10,000
            by default. Nothing is indexed before the end of an ingest, whatever it is.
        shards: parts that a server spreads the collection over; the server's default when None.
        replication_factor: copies of each shard on a cluster; the server's default when None.
        write_consistency_factor: copies that must confirm a write; the server's default when None.
    """

    quantization: str | None = None
    oversampling: float | None = None
    on_disk: bool | None = None
    hnsw_m: int | None = None
    hnsw_ef_construct: int | None = None
    hnsw_ef: int | None = None
    indexing_threshold: int | None = None
    shards: int | None = None
    replication_factor: int | None = None
    write_consistency_factor: int | None = None

    def check(self) -> None:
        """Check every setting.

        Raises:
            InputError: one is not possible; it names the setting and what goes.
        """
        if self.quantization is not None and self.quantization not in QUANTIZATIONS:
            raise InputError(
                f"quantization is {self.quantization!r}: choose one of {', '.join(QUANTIZATIONS)}"
            )
        if self.on_disk is not None and not isinstance(self.on_disk, bool):
            raise InputError(f"on_disk is {self.on_disk!r}: give True or False")
        if self.oversampling is not None:
            _check_oversampling(self.oversampling)
        for name, (least, most) in BOUNDS.items():
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise InputError(
                    f"{name} is {value!r}: give a whole number from {least} to {most:,}"
                )
        copies, confirmed = self.replication_factor, self.write_consistency_factor
        if confirmed is not None and copies is not None and confirmed > copies:
            raise InputError(
                f"write_consistency_factor is {confirmed}, more than the replication_factor "
                f"{copies}: no write could be confirmed so often"
            )

    def require_embeddable(self) -> None:
        """Check that an engine without a cluster can do it.

        Raises:
            InputError: shards, replication or write consistency is asked for.
        """
        asked = [name for name in _SERVER_ONLY if getattr(self, name) is not None]
        if asked:
            raise InputError(
                f"{', '.join(asked)}: the embedded engine is one shard in one folder. Leave it "
                "out, or give the URL of a Qdrant server or cluster (docker-compose.cluster.yml)"
            )

    def embeddable(self) -> Self:
        """The same without what only a cluster has."""
        return replace(self, **dict.fromkeys(_SERVER_ONLY))

    def resolved(self) -> Self:
        """The same with all defaults filled in; those of a server's cluster stay the server's."""
        given = {key: value for key, value in asdict(self).items() if value is not None}
        return replace(self, **{**_DEFAULTS, **given})

    def require_same(self, given: Storage, collection: str) -> None:
        """Check that a collection with these settings is what ``given`` asks for.

        Raises:
            CollectionMismatch: it is not; it names the settings, with both values.
        """
        differing = [
            f"{field.name} ({getattr(self, field.name)!r}, now {getattr(given, field.name)!r})"
            for field in fields(self)
            if getattr(given, field.name) not in (None, getattr(self, field.name))
        ]
        if differing:
            raise CollectionMismatch(
                f"collection {collection!r} was made with another {', '.join(differing)}: leave "
                "the setting out to keep the collection's own, or use another collection name"
            )

    def quantizes(self, points: int) -> bool:
        """Whether vectors are quantised when a collection of so many points is optimised."""
        return self.quantization == INT8 or (self.quantization == AUTO and points >= QUANTIZE_FROM)

    @property
    def rescoring(self) -> float | None:
        """The oversampling of every search that may meet quantised vectors; else None."""
        return None if self.quantization == NONE else self.oversampling

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, without what is None."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, row: Mapping[str, Any] | None, collection: str) -> Storage:
        """From a JSON object; None is a collection from before there were settings.

        Raises:
            StorageError: it is not one.
        """
        try:
            storage = cls(quantization=NONE) if row is None else cls(**row)
            storage.check()
        except (TypeError, InputError) as error:
            raise StorageError(
                f"the storage settings of collection {collection!r} are damaged, or of a later "
                f"release ({error}): use the release that built it, or build it again"
            ) from None
        return storage.resolved()


_DEFAULTS: Mapping[str, Any] = {
    "quantization": AUTO,
    "oversampling": LEAST_OVERSAMPLING,
    "on_disk": False,
    "hnsw_m": 16,
    "hnsw_ef_construct": 100,
    "hnsw_ef": 512,
    "indexing_threshold": 10_000,
}


def _check_oversampling(value: object) -> None:
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not fits or not LEAST_OVERSAMPLING <= float(str(value)) <= MOST_OVERSAMPLING:
        raise InputError(
            f"oversampling is {value!r}: give a number from {LEAST_OVERSAMPLING:g} to "
            f"{MOST_OVERSAMPLING:g}; below 2, hits are lost to rounding"
        )
