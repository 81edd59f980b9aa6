"""The steps of one ingest, on one collection, and how far it came."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xqg_qdrant.collection import (
    KEYWORD_INDEXES,
    CollectionManifest,
    build_payload,
    point_id,
)
from xqg_qdrant.corpus.staging import Augmented, Staging
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.points import Point
from xqg_qdrant.engine.storage import Storage
from xqg_qdrant.engine.vectors import AnyVector
from xqg_qdrant.errors import (
    CollectionExists,
    CollectionLocked,
    CollectionMismatch,
    EngineError,
    EngineUnavailable,
    PartialIngest,
    RayError,
    StorageError,
    UnfinishedIngest,
    XqgError,
)
from xqg_qdrant.layouts import Encodings
from xqg_qdrant.lexical import PASSAGE, SPARSE_VECTOR, Lexical
from xqg_qdrant.loader.documents import (
    LEXICAL,
    MANIFEST,
    STATISTICS,
    Statistics,
    read_journal,
    read_lengths,
    read_manifest,
)
from xqg_qdrant.loader.encoding import (
    BatchVectors,
    Encoding,
    batch_texts,
    encode_texts,
)
from xqg_qdrant.loader.journal import JOURNAL, Journal
from xqg_qdrant.loader.lengths import mean_lengths, texts_of
from xqg_qdrant.loader.verifying import SAMPLE, Differing, verify_sample
from xqg_qdrant.models.encoder import Encoder
from xqg_qdrant.records import Progress

_TERMS_PER_PASSAGE = 1_000
CHECKPOINT_SECONDS = 2.0
"""Between two entries in the journal: what a killed run does again at most."""


class IngestRun:
    """The state of one ingest."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        staging: Staging,
        manifest: CollectionManifest,
        storage: Storage,
        journal: Journal,
        progress: Callable[[Progress], None] | None,
        *,
        reload: bool = True,
    ) -> None:
        self.engine = engine
        self.name = name
        self.staging = staging
        self.manifest = manifest
        self.storage = storage
        self.journal = journal
        self.progress = progress
        self.reload = reload
        self.lexical: Lexical | None = None
        self.truncated_passages = 0
        self.truncated_queries = 0
        self.points = 0
        self._written_at = time.monotonic()

    def prepare(
        self, *, restart: bool, documents: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Make the collection, or see that what is there can be gone on with.

        Args:
            restart: begin again from the first passage.
            documents: more to keep with a collection that is made.
        """
        self.engine.ensure_space(self.name, 0)
        if self.engine.exists(self.name) and not self.adopt(restart=restart, writing=True):
            self.engine.delete(self.name)
        if self.engine.exists(self.name):
            self.engine.ensure_indexes(self.name, KEYWORD_INDEXES)
            self._prepare_lexical()
            self._write_journal()
            return
        self.engine.ensure_space(self.name, self._estimated_bytes())
        self.journal.created = True
        kept: dict[str, Any] = {
            MANIFEST: self.manifest.to_json(),
            JOURNAL: self.journal.to_json(),
            **(documents or {}),
        }
        self._prepare_lexical()
        if self.lexical is not None:
            kept[LEXICAL] = {"lengths": self.lexical.lengths}
        try:
            self.engine.create(
                self.name,
                self.manifest.dimensions,
                KEYWORD_INDEXES,
                kept,
                multivectors=self.manifest.layout_object.multivectors,
                sparse=self.manifest.sparse_names,
                storage=self.storage,
            )
        except CollectionExists as error:
            raise CollectionLocked(
                f"{error}: another ingest made it at this very moment. When that one is done, run "
                "the same again"
            ) from None
        self.engine.count(self.name)  # opens an embedded collection, before others do

    def go_on_complete(self) -> None:
        """Take what is there as loaded."""
        self.journal.done, self.journal.complete = self.journal.total, True
        self._prepare_lexical()

    def _prepare_lexical(self) -> None:
        """Count the terms of fields whose mean length is not known yet, in a pass of its own."""
        settings = self.manifest.lexical
        if settings is None:
            return
        there = self.engine.exists(self.name)
        known = read_lengths(self.engine, self.name) if there else {}
        wanted = {PASSAGE, *self.staging.queries} - known.keys()
        lengths = mean_lengths(self.staging, settings, wanted) if wanted else {}
        self.lexical = Lexical(settings, known | lengths)
        if wanted and there:
            self.engine.write_document(self.name, LEXICAL, {"lengths": self.lexical.lengths})

    def adopt(self, *, restart: bool, writing: bool) -> bool:
        """Go on with an existing collection; False if it is to be made anew.

        Raises:
            CollectionMismatch, UnfinishedIngest: it does not fit.
        """
        stored = read_manifest(self.engine, self.name)
        earlier = self._earlier_journal(restart=restart)
        unfinished = earlier is not None and not earlier.complete
        if unfinished and earlier is not None and earlier.created and restart:
            return False
        # Opens an embedded collection, and so keeps others out before anything is written.
        points = self.engine.count(self.name)
        try:
            stored.require_same(self.manifest, self.name)
            self.engine.storage(self.name).require_same(self.storage, self.name)
        except CollectionMismatch as error:
            if restart or not unfinished:
                raise
            raise UnfinishedIngest(
                f"an ingest into {self.name!r} was cut off, and this one has other settings: "
                f"{error}; or begin again with --restart (restart=True)"
            ) from None
        if unfinished and earlier is not None and not restart:
            self._require_same_input(earlier)
            earlier.writer = self.journal.writer
            self.journal = earlier
            if points < earlier.done:
                self.journal.done = 0  # points were lost since; load all of them again
        merged = stored.with_languages(self.manifest.languages)
        if earlier is not None and not self.reload and merged == stored and self._has_all(earlier):
            self.journal = earlier
        if writing and merged != stored:
            self.engine.write_document(self.name, MANIFEST, merged.to_json())
        self.manifest = merged
        return True

    def load(self, encode: Encoding) -> None:
        """Encode, fuse and write what is left to do; keeps the journal; optimises at the end."""
        try:
            self._tell("loading")
            left = self.staging.batches(self.journal.batch_size, skip=self.journal.done)
            for batch, vectors in encode(left):
                self.truncated_passages += vectors.truncated_passages
                self.truncated_queries += vectors.truncated_queries
                points = self._points(batch, vectors)
                self.engine.ensure_space(self.name, _point_bytes(points))
                self.engine.upsert(self.name, points)
                self.journal.done += len(batch)
                if time.monotonic() - self._written_at > CHECKPOINT_SECONDS:
                    self._checkpoint()
                self._tell("loading")
            self._checkpoint()
            self._tell("optimizing")
            self.engine.optimize(self.name)
            self._finish()
        except BaseException as error:
            # Whatever happened, note how far we came, if that is still possible.
            if not isinstance(error, EngineUnavailable):  # which was waited for long enough
                with contextlib.suppress(XqgError):
                    self._checkpoint()
            if isinstance(error, EngineError | RayError):
                raise PartialIngest(
                    f"{error}\n{self.journal.done:,} of {self.journal.total:,} passages are in "
                    f"collection {self.name!r}; run the same again to go on",
                    done=self.journal.done,
                    total=self.journal.total,
                ) from error
            raise

    def verify(self, replaced: str, encoder: Encoder) -> None:
        """Look for a sample of the input in what was built, before it takes a name.

        Raises:
            EngineError: it does not hold what went in; the name stands for what it did before.
        """
        self._tell("verifying")
        total = self.journal.total
        places = sorted({row * total // SAMPLE for row in range(SAMPLE)})
        chosen = [next(self.staging.batches(1, skip=place))[0] for place in places]
        vectors = encode_texts(encoder, *batch_texts(chosen))
        sample = list(zip(chosen, self._points(chosen, vectors), strict=True))
        try:
            if (count := self.engine.count(self.name)) != total:
                raise Differing(f"it holds {count:,} points, {total:,} passages were loaded")
            verify_sample(self.engine, self.name, self.manifest, encoder, sample)
        except Differing as error:
            raise EngineError(
                f"{error}: what was built as {self.name!r} at {self.engine.location} does not hold "
                f"what was loaded, and {replaced!r} stays as it was: build it again with "
                "--restart (restart=True)"
            ) from error

    def _points(self, batch: list[Augmented], vectors: BatchVectors) -> list[Point]:
        encodings = Encodings(
            vectors.passages,
            vectors.queries,
            np.repeat(np.arange(len(batch)), [len(each.queries) for each in batch]),
            [query.lang for each in batch for query in each.queries],
        )
        by_name = self.manifest.layout_object.batch_vectors(
            encodings, alpha=self.manifest.alpha, languages=self.manifest.languages
        )
        points = []
        for row, each in enumerate(batch):
            named: dict[str, AnyVector] = {name: rows[row] for name, rows in by_name.items()}
            if self.lexical is not None:
                named[SPARSE_VECTOR] = self.lexical.passage_vector(*texts_of(each))
            payload = build_payload(each.passage, each.queries)
            points.append(Point(point_id(each.passage.id), payload, named))
        return points

    def _finish(self) -> None:
        self.points = count = self.engine.count(self.name)
        if self.journal.created and count != self.journal.total:
            raise EngineError(
                f"collection {self.name!r} holds {count:,} points after {self.journal.total:,} "
                "passages were loaded: load it again with --restart (restart=True)"
            )
        self.engine.write_document(self.name, STATISTICS, self._statistics(count).to_json())
        self.journal.complete = True
        self._write_journal()

    def _statistics(self, count: int) -> Statistics:
        counts: Counter[str] = self.staging.queries
        if not self.journal.created:  # some points were there before, some were replaced
            counts = Counter()
            for point in self.engine.scroll(self.name):
                counts.update(query["lang"] for query in point.payload.get("queries") or ())
        return Statistics(count, counts)

    def _earlier_journal(self, *, restart: bool) -> Journal | None:
        try:
            return read_journal(self.engine, self.name)
        except StorageError:
            if restart:
                return None
            raise

    def _has_all(self, earlier: Journal) -> bool:
        """Whether the collection was made of this very input, whole, and is as it was."""
        return (
            earlier.created
            and earlier.complete
            and earlier.input == self.journal.input
            and self.engine.count(self.name) == earlier.total
        )

    def _require_same_input(self, earlier: Journal) -> None:
        differing = [
            what
            for what, same in (
                ("other passages or queries", earlier.input == self.journal.input),
                (f"batch size {earlier.batch_size}", earlier.batch_size == self.journal.batch_size),
            )
            if not same
        ]
        if differing:
            raise UnfinishedIngest(
                f"an ingest into {self.name!r} was cut off after {earlier.done:,} of "
                f"{earlier.total:,} passages, and had {' and '.join(differing)}: run it again "
                "with what it had to finish it, or begin again with --restart (restart=True)"
            )

    def _checkpoint(self) -> None:
        # First the points to the disk, then the word that they are there.
        self.engine.flush(self.name)
        self._require_alone()
        self._write_journal()

    def _require_alone(self) -> None:
        """See that no other run has begun to write to the collection since this one did."""
        try:
            row = self.engine.read_document(self.name, JOURNAL)
        except StorageError:  # damaged, and about to be replaced
            return
        if row is not None and row.get("writer") != self.journal.writer:
            raise CollectionLocked(
                f"another ingest has begun to write to collection {self.name!r} at "
                f"{self.engine.location} after this one, which ends after {self.journal.done:,} of "
                f"{self.journal.total:,} passages: when the other is done, run the same again"
            )

    def _write_journal(self) -> None:
        self.engine.write_document(self.name, JOURNAL, self.journal.to_json())
        self._written_at = time.monotonic()

    def _estimated_bytes(self) -> int:
        rows = sum(self.staging.queries.values()) if self.manifest.layout_object.multivectors else 0
        numbers = self.journal.total * sum(self.manifest.dimensions.values())
        numbers += rows * self.manifest.dimension
        terms = _TERMS_PER_PASSAGE * len(self.manifest.sparse_names)
        return numbers * 4 + self.journal.total * (8 * terms + 1_024)

    def _tell(self, stage: str) -> None:
        if self.progress is not None:
            self.progress(Progress(stage, self.journal.done, self.journal.total))


def _point_bytes(points: list[Point]) -> int:
    vectors = sum(vector.nbytes for point in points for vector in point.vectors.values())
    texts = sum(
        len(point.payload["text"]) + sum(len(query["text"]) for query in point.payload["queries"])
        for point in points
    )
    return vectors + 4 * texts
