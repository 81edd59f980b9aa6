"""One ingest: staged input to a collection, batch by batch, with a journal."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from xqg_qdrant.collection import (
    KEYWORD_INDEXES,
    CollectionManifest,
    build_payload,
    point_id,
)
from xqg_qdrant.corpus.checks import MAX_QUERY_CHARS, check_text, check_whole
from xqg_qdrant.corpus.staging import Augmented, Staging, counted
from xqg_qdrant.engine.base import Engine, Point, check_collection_name
from xqg_qdrant.engine.storage import Storage
from xqg_qdrant.engine.vectors import MAX_MULTIVECTOR_FLOATS, AnyVector
from xqg_qdrant.errors import (
    CollectionExists,
    CollectionLocked,
    CollectionMismatch,
    EngineError,
    EngineUnavailable,
    InputError,
    PartialIngest,
    RayError,
    StorageError,
    UnfinishedIngest,
    XqgError,
)
from xqg_qdrant.fusion import query_share
from xqg_qdrant.languages import parse_languages
from xqg_qdrant.layouts import DEFAULT_LAYOUT, Encodings, layout_named
from xqg_qdrant.lexical import PASSAGE, SPARSE_VECTOR, Lexical, LexicalSettings
from xqg_qdrant.loader.documents import (
    LEXICAL,
    MANIFEST,
    STATISTICS,
    read_journal,
    read_lengths,
    read_manifest,
)
from xqg_qdrant.loader.encoding import (
    BatchVectors,
    Encoding,
    batch_texts,
    encode_here,
    encode_texts,
)
from xqg_qdrant.loader.journal import JOURNAL, Journal
from xqg_qdrant.loader.lengths import mean_lengths, texts_of
from xqg_qdrant.loader.replacing import Replacement, build_key, holds
from xqg_qdrant.loader.report import IngestReport
from xqg_qdrant.loader.verifying import SAMPLE, Differing, verify_sample
from xqg_qdrant.models.encoder import Encoder
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
    encoding: contextlib.AbstractContextManager[Encoding] | None = None,
    layout: str = DEFAULT_LAYOUT,
    hybrid: bool = False,
    alpha: float | None = None,
    languages: Iterable[str] = (),
    generator: str | None = None,
    storage: Storage | None = None,
    batch_size: int = BATCH_SIZE,
    restart: bool = False,
    replace: bool = False,
    drop_previous: bool = False,
    dry_run: bool = False,
    reload: bool = True,
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
        encoding: where it makes them, entered before anything is read; here when None.
        layout: a name in :data:`xqg_qdrant.layouts.LAYOUTS`.
        hybrid: keep a lexical vector of every passage and its queries too, see
            :mod:`xqg_qdrant.lexical`.
        alpha: the paper's, from 0 to 1; the encoder's for this layout when None, or else the
            layout's.
        languages: that later ingests will bring queries in, beside those of ``queries``.
        generator: what wrote the queries, in your words; kept in the manifest.
        storage: how the engine keeps the vectors; what it leaves open is as the collection has it,
            or the default.
        batch_size: passages encoded and written at a time.
        restart: begin an unfinished ingest again from its first passage. Where that ingest had
            made the collection, the collection is made anew, so settings may change.
        replace: build a new collection beside the one of that name, verify it, and let it take
            the name; the old one is kept as ``NAME.previous``. See
            :mod:`xqg_qdrant.loader.replacing`.
        drop_previous: with ``replace``, destroy a ``NAME.previous`` that is there already.
        dry_run: check input and settings, write nothing.
        reload: load anew what the last ingest has loaded whole; else that is found, not encoded
            again.
        progress: called after every batch.

    Raises:
        InputError: the input or a setting is wrong; nothing was written.
        CollectionMismatch: the collection was built with other settings; nothing was written.
        UnfinishedIngest: an ingest of other input, or with other settings, was cut off here.
        PartialIngest: the engine or the encoding's workers failed on the way; what is in stays in.
        CollectionExists: with ``replace``: an earlier one is kept still, or the name cannot move.
    """
    began = time.monotonic()
    check_collection_name(collection)
    chosen = layout_named(layout)
    alpha = chosen.chosen_alpha(alpha, hybrid=hybrid, defaults=encoder.manifest.alphas)
    batch_size = check_whole(batch_size, "batch_size", 1, MAX_BATCH_SIZE)
    if generator is not None and generator != "":
        check_text(generator, "generator", limit=MAX_QUERY_CHARS)
    if drop_previous and not replace:
        raise InputError("drop_previous goes with replace: nothing else drops a collection")
    extra_languages = parse_languages(languages)
    storage = Storage() if storage is None else storage
    if not isinstance(storage, Storage):
        raise InputError(f"storage is {storage!r}: give a Storage")
    engine.check_storage(storage)

    here = contextlib.nullcontext(encode_here(encoder))
    with encoding or here as encode, Staging() as staging:
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
        journal = Journal(
            input=staging.fingerprint,
            batch_size=batch_size,
            total=staging.passages,
            writer=uuid.uuid4().hex,
        )
        plan: Replacement | None = None
        if replace:
            plan = Replacement.plan(
                engine,
                collection,
                build_key(manifest, storage, journal),
                lambda live: holds(engine, live, manifest, storage, journal),
                restart=restart,
                drop_previous=drop_previous,
                dry_run=dry_run,
            )
        # Whatever name moves meanwhile, this run stays with its collection.
        target = engine.resolve(collection) if plan is None else plan.target
        run = _Run(engine, target, staging, manifest, storage, journal, progress)
        run.reload = reload
        resumed_at, previous, points = 0, None, 0
        if dry_run:
            if engine.exists(target) and not (plan and (restart or plan.in_place)):
                run.adopt(restart=restart, writing=False)
        elif plan is None:
            run.prepare(restart=restart)
            if not engine.exists(collection):  # an alias, that went with what was begun again
                engine.change_aliases({collection: target})
            resumed_at = run.journal.done
            run.load(encode)
        elif plan.in_place:
            resumed_at = journal.total
        else:
            if engine.exists(target) and holds(engine, target, manifest, storage, journal):
                run.go_on_complete()  # cut off between loading and swapping
            else:
                run.prepare(restart=False, documents=plan.documents)
            resumed_at = run.journal.done
            if not run.journal.complete:
                run.load(encode)
            run.verify(collection, encoder)
            previous = plan.swap()
        if not dry_run:
            # What is in place may be open in another process, which is as good a sign.
            in_place = plan is not None and plan.in_place
            points = run.points or (journal.total if in_place else engine.count(target))
        return IngestReport(
            collection=collection,
            location=engine.location,
            dry_run=dry_run,
            passages=staging.passages,
            queries=dict(sorted(staging.queries.items())),
            duplicates=staging.duplicates,
            resumed_at=resumed_at,
            truncated_passages=run.truncated_passages,
            truncated_queries=run.truncated_queries,
            points=None if dry_run else points,
            encoder=encoder.name,
            layout=layout,
            hybrid=hybrid,
            alpha=alpha,
            query_share=mean_share(manifest, staging.passages, sum(staging.queries.values())),
            seconds=time.monotonic() - began,
            previous=previous,
        )


class _Run:
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
    ) -> None:
        self.engine = engine
        self.name = name
        self.staging = staging
        self.manifest = manifest
        self.storage = storage
        self.journal = journal
        self.progress = progress
        self.reload = True
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
        total, cut = self.journal.total, (self.truncated_passages, self.truncated_queries)
        places = sorted({row * total // SAMPLE for row in range(SAMPLE)})
        chosen = [next(self.staging.batches(1, skip=place))[0] for place in places]
        vectors = encode_texts(encoder, *batch_texts(chosen))
        sample = list(zip(chosen, self._points(chosen, vectors), strict=True))
        self.truncated_passages, self.truncated_queries = cut  # counted already
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
        self.truncated_passages += vectors.truncated_passages
        self.truncated_queries += vectors.truncated_queries
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


def mean_queries(manifest: CollectionManifest, statistics: Mapping[str, Any]) -> float:
    """Of the sums in a collection's vectors; 0 while its first ingest is not complete."""
    sums = statistics.get("passages", 0) * manifest.layout_object.sums(manifest.languages)
    return sum(statistics.get("queries", {}).values()) / sums if sums else 0.0


def _point_bytes(points: list[Point]) -> int:
    vectors = sum(vector.nbytes for point in points for vector in point.vectors.values())
    texts = sum(
        len(point.payload["text"]) + sum(len(query["text"]) for query in point.payload["queries"])
        for point in points
    )
    return vectors + 4 * texts
