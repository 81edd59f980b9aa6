"""One ingest: staged input to a collection, batch by batch, with a journal."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterable

from xqg_qdrant.collection import (
    CollectionManifest,
)
from xqg_qdrant.corpus.checks import MAX_QUERY_CHARS, check_text, check_whole
from xqg_qdrant.corpus.staging import Staging, counted
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.names import check_collection_name
from xqg_qdrant.engine.storage import Storage
from xqg_qdrant.engine.vectors import MAX_MULTIVECTOR_FLOATS
from xqg_qdrant.errors import (
    InputError,
)
from xqg_qdrant.fusion import query_share
from xqg_qdrant.languages import parse_languages
from xqg_qdrant.layouts import DEFAULT_LAYOUT, layout_named
from xqg_qdrant.lexical import LexicalSettings
from xqg_qdrant.loader.documents import Statistics
from xqg_qdrant.loader.encoding import (
    Encoding,
    encode_here,
)
from xqg_qdrant.loader.journal import Journal
from xqg_qdrant.loader.replacing import Replacement, build_key, check_flags, holds
from xqg_qdrant.loader.report import IngestReport
from xqg_qdrant.loader.running import IngestRun
from xqg_qdrant.models.encoder import Encoder
from xqg_qdrant.records import GeneratedQuery, Passage, Progress

BATCH_SIZE = 128
MAX_BATCH_SIZE = 4_096


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
    check_flags(replace=replace, drop_previous=drop_previous)
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
        run = IngestRun(
            engine, target, staging, manifest, storage, journal, progress, reload=reload
        )
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


def mean_queries(manifest: CollectionManifest, statistics: Statistics) -> float:
    """Of the sums in a collection's vectors; 0 while its first ingest is not complete."""
    sums = statistics.passages * manifest.layout_object.sums(manifest.languages)
    return statistics.all_queries / sums if sums else 0.0
