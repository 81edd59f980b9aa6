"""One ingest: staged input to a collection, batch by batch, with a journal."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from xqg_qdrant.collection import (
    KEYWORD_INDEXES,
    CollectionManifest,
    build_payload,
    point_id,
)
from xqg_qdrant.corpus.checks import MAX_QUERY_CHARS, check_text, check_whole
from xqg_qdrant.corpus.staging import Augmented, Staging, counted
from xqg_qdrant.engine.base import Engine, Point, check_collection_name
from xqg_qdrant.engine.vectors import MAX_MULTIVECTOR_FLOATS, AnyVector
from xqg_qdrant.errors import (
    CollectionMismatch,
    EngineError,
    InputError,
    PartialIngest,
    StorageError,
    UnfinishedIngest,
    XqgError,
)
from xqg_qdrant.fusion import query_share
from xqg_qdrant.languages import parse_languages
from xqg_qdrant.layouts import DEFAULT_LAYOUT, layout_named
from xqg_qdrant.lexical import PASSAGE, SPARSE_VECTOR, Lexical, LexicalSettings
from xqg_qdrant.loader.documents import LEXICAL, MANIFEST, STATISTICS, read_lengths, read_manifest
from xqg_qdrant.loader.journal import JOURNAL, Journal
from xqg_qdrant.loader.lengths import mean_lengths, texts_of
from xqg_qdrant.loader.report import IngestReport
from xqg_qdrant.models.encoder import Encoder, passage_text
from xqg_qdrant.records import GeneratedQuery, Passage, Progress

BATCH_SIZE = 128
MAX_BATCH_SIZE = 4_096
_TERMS_PER_PASSAGE = 1_000
CHECKPOINT_SECONDS = 2.0
"""Between two entries in the journal: what a killed run does again at most."""


def ingest(
    engine: Engine,
    collection: str,
    passages: Iterable[tuple[str, Passage]],
    queries: Iterable[tuple[str, GeneratedQuery]] = (),
    *,
    encoder: Encoder,
    layout: str = DEFAULT_LAYOUT,
    hybrid: bool = False,
    alpha: float | None = None,
    languages: Iterable[str] = (),
    generator: str | None = None,
    batch_size: int = BATCH_SIZE,
    restart: bool = False,
    dry_run: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> IngestReport:
    """Load passages, augmented with their queries, into a collection.

    The whole input is read and checked first. A collection that does not exist is made. Point
    ids derive from passage ids, so loading the same again changes nothing. A run that was cut off
    goes on where it stopped when it is called again with the same input and settings.

    Args:
        engine: where the collection is, or will be.
        collection: its name.
        passages: checked passages, each with where it stands (for messages).
        queries: checked generated queries of these passages, in any order.
        encoder: makes the vectors.
        layout: a name in :data:`xqg_qdrant.layouts.LAYOUTS`.
        hybrid: keep a lexical vector of every passage and its queries too, see
            :mod:`xqg_qdrant.lexical`.
        alpha: the paper's, from 0 to 1; the layout's default when None.
        languages: that later ingests will bring queries in, beside those of ``queries``.
        generator: what wrote the queries, in your words; kept in the manifest.
        batch_size: passages encoded and written at a time.
        restart: begin an unfinished ingest again from its first passage. Where that ingest had
            made the collection, the collection is made anew, so settings may change.
        dry_run: check input and settings, write nothing.
        progress: called after every batch.

    Raises:
        InputError: the input or a setting is wrong; nothing was written.
        CollectionMismatch: the collection was built with other settings; nothing was written.
        UnfinishedIngest: an ingest of other input, or with other settings, was cut off here.
        PartialIngest: the engine failed on the way; what is in stays in.
    """
    began = time.monotonic()
    check_collection_name(collection)
    chosen = layout_named(layout)
    alpha = chosen.chosen_alpha(alpha, hybrid=hybrid)
    batch_size = check_whole(batch_size, "batch_size", 1, MAX_BATCH_SIZE)
    if generator is not None and generator != "":
        check_text(generator, "generator", limit=MAX_QUERY_CHARS)
    extra_languages = parse_languages(languages)

    with Staging() as staging:
        staging.add_passages(counted(passages, progress))
        staging.add_queries(counted(queries, progress))
        manifest = CollectionManifest(
            encoder=encoder.name,
            encoder_fingerprint=encoder.fingerprint,
            dimension=encoder.dimension,
            similarity=encoder.manifest.similarity,
            layout=layout,
            alpha=alpha,
            languages=tuple(sorted({*staging.queries, *extra_languages})),
            generator=generator,
            lexical=LexicalSettings() if hybrid else None,
        )
        _check_rows(manifest, staging)
        journal = Journal(input=staging.fingerprint, batch_size=batch_size, total=staging.passages)
        run = _Run(engine, collection, staging, encoder, manifest, journal, progress)
        if dry_run:
            if engine.exists(collection):
                run.adopt(restart=restart, writing=False)
        else:
            run.prepare(restart=restart)
            resumed_at = run.journal.done
            run.load()
        return IngestReport(
            collection=collection,
            location=engine.location,
            dry_run=dry_run,
            passages=staging.passages,
            queries=dict(sorted(staging.queries.items())),
            duplicates=staging.duplicates,
            resumed_at=0 if dry_run else resumed_at,
            truncated_passages=run.truncated_passages,
            truncated_queries=run.truncated_queries,
            points=None if dry_run else engine.count(collection),
            encoder=encoder.name,
            layout=layout,
            hybrid=hybrid,
            alpha=alpha,
            query_share=mean_share(manifest, staging.passages, sum(staging.queries.values())),
            seconds=time.monotonic() - began,
        )


class _Run:
    """The state of one ingest."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        staging: Staging,
        encoder: Encoder,
        manifest: CollectionManifest,
        journal: Journal,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.engine = engine
        self.name = name
        self.staging = staging
        self.encoder = encoder
        self.manifest = manifest
        self.journal = journal
        self.progress = progress
        self.lexical: Lexical | None = None
        self.truncated_passages = 0
        self.truncated_queries = 0
        self._written_at = time.monotonic()

    def prepare(self, *, restart: bool) -> None:
        """Make the collection, or see that what is there can be gone on with."""
        if self.engine.exists(self.name) and not self.adopt(restart=restart, writing=True):
            self.engine.delete(self.name)
        if self.engine.exists(self.name):
            self.engine.ensure_indexes(self.name, KEYWORD_INDEXES)
            self._prepare_lexical(read_lengths(self.engine, self.name))
            self._write_journal()
            return
        self.engine.ensure_space(self.name, self._estimated_bytes())
        self.journal.created = True
        documents = {MANIFEST: self.manifest.to_json(), JOURNAL: self.journal.to_json()}
        self._prepare_lexical({})
        if self.lexical is not None:
            documents[LEXICAL] = {"lengths": self.lexical.lengths}
        self.engine.create(
            self.name,
            self.manifest.dimensions,
            KEYWORD_INDEXES,
            documents,
            multivectors=self.manifest.layout_object.multivectors,
            sparse=self.manifest.sparse_names,
        )

    def _prepare_lexical(self, known: dict[str, float]) -> None:
        """Count the terms of fields whose mean length is not known yet, in a pass of its own."""
        settings = self.manifest.lexical
        if settings is None:
            return
        wanted = {PASSAGE, *self.staging.queries} - known.keys()
        lengths = mean_lengths(self.staging, settings, wanted) if wanted else {}
        self.lexical = Lexical(settings, known | lengths)
        if wanted and self.engine.exists(self.name):
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
        try:
            stored.require_same(self.manifest, self.name)
        except CollectionMismatch as error:
            if restart or not unfinished:
                raise
            raise UnfinishedIngest(
                f"an ingest into {self.name!r} was cut off, and this one has other settings: "
                f"{error}; or begin again with --restart (restart=True)"
            ) from None
        if unfinished and earlier is not None and not restart:
            self._require_same_input(earlier)
            self.journal = earlier
            if self.engine.count(self.name) < earlier.done:
                self.journal.done = 0  # points were lost since; load all of them again
        merged = stored.with_languages(self.manifest.languages)
        if writing and merged != stored:
            self.engine.write_document(self.name, MANIFEST, merged.to_json())
        self.manifest = merged
        return True

    def load(self) -> None:
        """Encode, fuse and write what is left to do; keeps the journal; optimises at the end."""
        try:
            self._tell("loading")
            for batch in self.staging.batches(self.journal.batch_size, skip=self.journal.done):
                points = self._points(batch)
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
            with contextlib.suppress(XqgError):
                self._checkpoint()
            if isinstance(error, EngineError):
                raise PartialIngest(
                    f"{error}\n{self.journal.done:,} of {self.journal.total:,} passages are in "
                    f"collection {self.name!r}; run the same again to go on",
                    done=self.journal.done,
                    total=self.journal.total,
                ) from error
            raise

    def _points(self, batch: list[Augmented]) -> list[Point]:
        texts = [passage_text(each.passage) for each in batch]
        passages, cut = self.encoder.encode(texts, "passage")
        self.truncated_passages += cut
        queries = [query for each in batch for query in each.queries]
        vectors, cut = self.encoder.encode([query.text for query in queries], "query")
        self.truncated_queries += cut
        layout, points, start = self.manifest.layout_object, [], 0
        for row, each in enumerate(batch):
            end = start + len(each.queries)
            named: dict[str, AnyVector] = {}
            named |= layout.point_vectors(
                passages[row],
                vectors[start:end],
                [query.lang for query in each.queries],
                alpha=self.manifest.alpha,
                languages=self.manifest.languages,
            )
            if self.lexical is not None:
                named[SPARSE_VECTOR] = self.lexical.passage_vector(*texts_of(each))
            payload = build_payload(each.passage, each.queries)
            points.append(Point(point_id(each.passage.id), payload, named))
            start = end
        return points

    def _finish(self) -> None:
        count = self.engine.count(self.name)
        if self.journal.created and count != self.journal.total:
            raise EngineError(
                f"collection {self.name!r} holds {count:,} points after {self.journal.total:,} "
                "passages were loaded: load it again with --restart (restart=True)"
            )
        self.engine.write_document(self.name, STATISTICS, self._statistics(count))
        self.journal.complete = True
        self._write_journal()

    def _statistics(self, count: int) -> dict[str, Any]:
        counts: Counter[str] = self.staging.queries
        if not self.journal.created:  # some points were there before, some were replaced
            counts = Counter()
            for point in self.engine.scroll(self.name):
                counts.update(query["lang"] for query in point.payload.get("queries") or ())
        return {"passages": count, "queries": dict(sorted(counts.items()))}

    def _earlier_journal(self, *, restart: bool) -> Journal | None:
        try:
            row = self.engine.read_document(self.name, JOURNAL)
            return None if row is None else Journal.from_json(row, self.name)
        except StorageError:
            if restart:
                return None
            raise

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
        self._write_journal()

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


def _check_rows(manifest: CollectionManifest, staging: Staging) -> None:
    """Refuse more queries of one passage than a multivector has room for, before any work."""
    if not manifest.layout_object.multivectors:
        return
    passage_id, queries = staging.most_queries()
    most = (MAX_MULTIVECTOR_FLOATS - 1) // manifest.dimension - 1
    if queries > most:
        raise InputError(
            f"passage {passage_id!r} has {queries:,} queries: layout {manifest.layout!r} has room "
            f"for {most:,} at dimension {manifest.dimension}; give fewer, or choose another layout"
        )


def mean_share(manifest: CollectionManifest, passages: int, queries: int) -> float:
    """The queries' mean share of a fused vector's mass, from 0 to 1."""
    sums = passages * manifest.layout_object.sums(manifest.languages)
    return query_share(manifest.alpha, queries / sums) if sums else 0.0


def _point_bytes(points: list[Point]) -> int:
    vectors = sum(vector.nbytes for point in points for vector in point.vectors.values())
    texts = sum(
        len(point.payload["text"]) + sum(len(query["text"]) for query in point.payload["queries"])
        for point in points
    )
    return vectors + 4 * texts
