"""What a collection is: its point ids, its payload, and the manifest that it was built with."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from xqg_qdrant.corpus.checks import MAX_QUERY_CHARS, check_text, check_whole
from xqg_qdrant.engine.storage import Storage
from xqg_qdrant.errors import CollectionMismatch, InputError
from xqg_qdrant.fusion import check_alpha
from xqg_qdrant.languages import parse_languages
from xqg_qdrant.layouts import Layout, layout_named
from xqg_qdrant.lexical import SPARSE_VECTOR, LexicalSettings
from xqg_qdrant.models.manifest import MAX_DIMENSION
from xqg_qdrant.records import GeneratedQuery, Hit, Passage

SCHEMA_VERSION = 1

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "xqg-qdrant")
"""Namespace of point ids. Never to change: the ids of all collections hang on it."""

KEYWORD_INDEXES = ("passage_id", "lang", "queries[].lang")
"""Payload fields indexed in every collection, since the client filters by them."""


def point_id(passage_id: str) -> str:
    """The UUIDv5 (RFC 9562) of a passage id: the same passage is always the same point."""
    return str(uuid.uuid5(NAMESPACE, passage_id))


def build_payload(passage: Passage, queries: Sequence[GeneratedQuery]) -> dict[str, Any]:
    """The payload of a point: our fields, and the user's own under ``metadata``."""
    return {
        "passage_id": passage.id,
        "title": passage.title,
        "text": passage.text,
        "lang": passage.lang,
        "queries": [
            {"lang": query.lang, "text": query.text, "score": query.score} for query in queries
        ],
        "metadata": dict(passage.metadata),
    }


def hit_from_payload(payload: Mapping[str, Any], score: float) -> Hit:
    """A hit from a point's payload, see :func:`build_payload`.

    Raises:
        CollectionMismatch: others have written the point.
    """
    try:
        passage_id = payload["passage_id"]
        return Hit(
            id=passage_id,
            score=score,
            title=payload.get("title") or "",
            text=payload["text"],
            lang=payload.get("lang"),
            metadata=payload.get("metadata") or {},
            queries=tuple(
                GeneratedQuery(passage_id, row["lang"], row["text"], row.get("score"))
                for row in payload.get("queries") or ()
            ),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise CollectionMismatch(
            f"the collection holds a point that xqg-qdrant did not write ({error!r}): remove it, "
            "or build the collection again"
        ) from None


@dataclass(frozen=True, slots=True)
class CollectionManifest:
    """The settings that a collection was built with; stored with it, checked before any use.

    Attributes:
        encoder: the encoder's name.
        encoder_fingerprint: changes with anything that changes its vectors.
        dimension: of its vectors.
        similarity: ``cosine`` (normalised vectors) or ``dot``; points are scored by the dot
            product either way.
        layout: the layout's name.
        alpha: the paper's.
        languages: of the generated queries, sorted.
        generator: what wrote the queries, in the user's words, if said.
        lexical: how the sparse vectors are made that stand beside the dense ones; None where
            there are none, the collection is not hybrid.
        schema_version: of this record and of the payload.
    """

    encoder: str
    encoder_fingerprint: str
    dimension: int
    similarity: str
    layout: str
    alpha: float
    languages: tuple[str, ...]
    generator: str | None = None
    lexical: LexicalSettings | None = None
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; without ``lexical`` where it is None, as before there was such."""
        row = {**asdict(self), "languages": list(self.languages)}
        if self.lexical is None:
            del row["lexical"]
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any], collection: str) -> CollectionManifest:
        """From a JSON object.

        Raises:
            CollectionMismatch: it is not a manifest that this release reads.
        """
        version = row.get("schema_version") if isinstance(row, Mapping) else None
        if isinstance(version, bool) or version != SCHEMA_VERSION:
            raise CollectionMismatch(
                f"collection {collection!r} has schema version {version!r:.60}, this release reads "
                f"{SCHEMA_VERSION}: build it again, or use the release that built it"
            )
        try:
            lexical = row.get("lexical")
            manifest = cls(
                **{
                    **row,
                    "languages": tuple(parse_languages(row["languages"])),
                    "lexical": None if lexical is None else LexicalSettings.from_json(lexical),
                }
            )
            layout_named(manifest.layout)
            dimension = check_whole(manifest.dimension, "dimension", 1, MAX_DIMENSION)
            for field in ("encoder", "encoder_fingerprint", "similarity"):
                check_text(getattr(manifest, field), field, limit=MAX_QUERY_CHARS)
            if manifest.generator not in (None, ""):
                check_text(manifest.generator, "generator", limit=MAX_QUERY_CHARS)
            return replace(manifest, alpha=check_alpha(manifest.alpha), dimension=dimension)
        except (
            AttributeError,
            TypeError,
            ValueError,
            OverflowError,
            KeyError,
            InputError,
        ) as error:
            raise CollectionMismatch(
                f"the manifest of collection {collection!r} is damaged ({error!s:.200}): "
                f"delete the collection ('xqg delete -c {collection}') and ingest it again"
            ) from None

    @property
    def layout_object(self) -> Layout:
        """The layout itself."""
        return layout_named(self.layout)

    @property
    def dimensions(self) -> dict[str, int]:
        """The named dense vectors of every point, with their dimensions."""
        return self.layout_object.dimensions(self.dimension, self.languages)

    @property
    def vector_names(self) -> list[str]:
        """The named dense vectors of every point."""
        return list(self.dimensions)

    @property
    def sparse_names(self) -> list[str]:
        """The named sparse vectors of every point."""
        return [] if self.lexical is None else [SPARSE_VECTOR]

    @property
    def hybrid(self) -> bool:
        """Whether points have a lexical vector beside the dense ones."""
        return self.lexical is not None

    def with_languages(self, languages: Sequence[str]) -> CollectionManifest:
        """The same manifest, with these languages among its own."""
        return replace(self, languages=tuple(sorted({*self.languages, *languages})))

    def require_same(self, other: CollectionManifest, collection: str) -> None:
        """Check that points made with ``other`` may join this collection.

        Raises:
            CollectionMismatch: they may not; it names the fields, with both values.
        """
        mine, theirs = self._compared(), other._compared()
        # Fewer languages are welcome, and more where they need no vector of their own.
        merged = self.with_languages(other.languages)
        theirs["languages"] = list(merged.languages)
        if merged.dimensions == self.dimensions:
            theirs["languages"] = mine["languages"]
        # Who wrote the queries is told, not compared: it does not change what vectors mean.
        theirs["generator"] = mine["generator"]
        if self.layout == other.layout and self.layout_object.tunable:
            theirs["alpha"] = mine["alpha"]  # comes with the question
        differing = [
            f"{field} ({mine[field]!r}, now {theirs[field]!r})"
            for field in mine
            if field in theirs and mine[field] != theirs[field]
        ]
        if differing:
            raise CollectionMismatch(
                f"collection {collection!r} was built with another {', '.join(differing)}: "
                "use the settings that it was built with, or another collection name"
            )

    def _compared(self) -> dict[str, Any]:
        """All fields, those of the lexical vectors by themselves: a difference is named by them."""
        row = {**self.to_json(), "hybrid": self.hybrid}
        lexical = row.pop("lexical", {})
        return row | {f"lexical.{field}": value for field, value in lexical.items()}


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """What is known of a collection.

    Attributes:
        name: of the collection.
        location: of the collection.
        points: how many there are; one a passage.
        indexed: vectors in an HNSW graph; the others are compared one by one.
        complete: the last ingest ended well.
        loaded: passages of the last ingest that are in.
        total: passages of the last ingest.
        queries: generated queries by language, as of the last complete ingest.
        query_share: the queries' mean share of a fused vector's mass, from 0 to 1.
        manifest: the settings it was built with.
        storage: how the engine keeps its vectors.
        alias_of: the collection itself, where the name is an alias.
    """

    name: str
    location: str
    points: int
    indexed: int
    complete: bool
    loaded: int
    total: int
    queries: Mapping[str, int]
    query_share: float
    manifest: CollectionManifest
    storage: Storage
    alias_of: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            **asdict(self),
            "manifest": self.manifest.to_json(),
            "storage": self.storage.to_json(),
        }
