"""The client: ingest into collections and search them across languages."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from xqg_qdrant.collection import CollectionManifest, CollectionReport, hit_from_payload
from xqg_qdrant.corpus.checks import (
    MAX_QUERY_CHARS,
    check_passage,
    check_query,
    check_records,
    check_text,
)
from xqg_qdrant.corpus.jsonl import read_passages, read_queries
from xqg_qdrant.encoders import Encoders
from xqg_qdrant.engine import open_engine
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.filters import parse_filters
from xqg_qdrant.engine.names import check_collection_name
from xqg_qdrant.engine.points import ScoredPoint
from xqg_qdrant.engine.storage import Storage
from xqg_qdrant.errors import CollectionNotFound, EngineError, InputError
from xqg_qdrant.layouts import DEFAULT_LAYOUT, layout_named
from xqg_qdrant.lexical import SPARSE_VECTOR
from xqg_qdrant.loader import IngestReport, Progress, ingest
from xqg_qdrant.loader.documents import read_journal, read_manifest, read_statistics
from xqg_qdrant.loader.ingestion import BATCH_SIZE, mean_queries, mean_share
from xqg_qdrant.operations import Operations
from xqg_qdrant.records import GeneratedQuery, Hit, Passage
from xqg_qdrant.searching import Asking, Detectors, languages_of

if TYPE_CHECKING:
    from xqg_qdrant.loader.encoding import Encoding
    from xqg_qdrant.models.encoder import Encoder
    from xqg_qdrant.ray_data import RayCluster

MANIFEST_SECONDS = 5.0
"""For so long a search trusts what it read of a name: a server need not be asked every time."""


class Client(Operations):
    """Search across languages in collections at one location.

    Safe to share between threads; the embedded engine takes one call at a time, and calls on a
    collection wait while it is optimised, at the end of an ingest. Close it, or use it in a
    ``with`` block: an embedded collection is open to one process at a time.

    Args:
        location: a folder for the embedded engine (``xqg-data`` when None), ``":memory:"``, the
            URL of a Qdrant server, or an engine that is open already.
        api_key: for a server; it stands in no message, log, manifest or ``repr``.
        allow_insecure_api_key: send the key over plain HTTP to another machine too; refused
            otherwise, since all on the way could read it.
        encoder: name, model folder or encoder, for ingesting and searching. When None, ingesting
            takes the default encoder and searching the one that the collection was built with.
        threads: threads that the encoder runs on; all cores when None.

    Raises:
        InputError: the location is none, or the key would go to another machine unencrypted.
        EngineUnavailable: the server cannot be reached.
    """

    def __init__(
        self,
        location: str | os.PathLike[str] | Engine | None = None,
        *,
        api_key: str | None = None,
        allow_insecure_api_key: bool = False,
        encoder: str | os.PathLike[str] | Encoder | None = None,
        threads: int | None = None,
    ) -> None:
        if isinstance(location, Engine):
            self._engine = location
        else:
            self._engine = open_engine(
                location, api_key=api_key, allow_insecure_api_key=allow_insecure_api_key
            )
        self._encoders = Encoders(encoder, threads)
        self._detectors = Detectors()
        self._manifests: dict[str, tuple[float, str, CollectionManifest, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What went wrong in the block must not be hidden by what then goes wrong in closing.
        with suppress(EngineError) if error is not None else nullcontext():
            self.close()

    def __repr__(self) -> str:
        return f"Client({self._engine.location!r})"

    @property
    def location(self) -> str:
        """Where the collections are."""
        return self._engine.location

    def close(self) -> None:
        """Let go of the engine."""
        self._engine.close()

    def ingest(
        self,
        collection: str,
        passages: str | os.PathLike[str] | Iterable[Passage | Mapping[str, Any]],
        queries: str | os.PathLike[str] | Iterable[GeneratedQuery | Mapping[str, Any]] = (),
        *,
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
        ray: str | RayCluster | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> IngestReport:
        """Load passages, augmented with generated queries, into a collection.

        Args:
            collection: its name; it is made if there is none.
            passages: a JSONL file, ``"-"``, or passages (or mappings with their fields).
            queries: a JSONL file, or generated queries (or mappings with their fields).
            layout: ``per-language``, ``fused``, ``tunable`` or ``multivector``.
            hybrid: keep a lexical vector of every passage and its queries beside the dense ones.
            alpha: the paper's, from 0 to 1; :meth:`default_alpha` when None.
            languages: that later ingests will bring queries in.
            generator: what wrote the queries, in your words.
            storage: quantisation, disk, HNSW, shards; what it leaves open is as the collection
                has it, or the default.
            batch_size: passages encoded and written at a time.
            restart: begin an unfinished ingest again from its first passage.
            replace: build a new collection beside the one of that name, verify it, and let it
                take the name in one step; settings may differ. The old one serves until then, and
                is kept as ``NAME.previous``; see :meth:`rollback`.
            drop_previous: with ``replace``: destroy a ``NAME.previous`` of before, at the end.
            dry_run: check everything, write nothing.
            reload: load anew what the last ingest has loaded whole; else find it, encode nothing.
            ray: encode on a Ray cluster, given by its address (``local``, ``auto``, ``HOST:PORT``)
                or as a :class:`~xqg_qdrant.ray_data.RayCluster`; on this machine when None.
            progress: called after every batch.

        Raises:
            InputError: the input or a setting is wrong; nothing was written.
            CollectionMismatch: the collection was built with other settings.
            UnfinishedIngest: another ingest was cut off here.
            PartialIngest: the engine failed on the way; what is in stays in.
            CollectionExists: with ``replace``: a ``NAME.previous`` is there still, or NAME is a
                collection itself on a server; the message says what to do.
            ModelError: the encoder cannot be loaded.
            RayError: the Ray cluster cannot be reached.
        """
        with self._forgetting(collection):
            encoder = self._encoders.for_ingest()
            return ingest(
                self._engine,
                collection,
                read_passages(passages)
                if isinstance(passages, str | os.PathLike)
                else check_records(passages, Passage, check_passage, "passage"),
                read_queries(queries)
                if isinstance(queries, str | os.PathLike)
                else check_records(queries, GeneratedQuery, check_query, "query"),
                encoder=encoder,
                encoding=None if ray is None or dry_run else self._encoding(encoder, ray),
                layout=layout,
                hybrid=hybrid,
                alpha=alpha,
                languages=languages,
                generator=generator,
                storage=storage,
                batch_size=batch_size,
                restart=restart,
                replace=replace,
                drop_previous=drop_previous,
                dry_run=dry_run,
                reload=reload,
                progress=progress,
            )

    def default_alpha(self, layout: str = DEFAULT_LAYOUT, *, hybrid: bool = False) -> float:
        """What ingesting takes for alpha: the encoder's for the layout, or else the layout's."""
        alphas = self._encoders.for_ingest().manifest.alphas
        return layout_named(layout).chosen_alpha(None, hybrid=hybrid, defaults=alphas)

    def search(
        self,
        collection: str,
        question: str,
        *,
        lang: str | None = None,
        limit: int = 10,
        filters: Mapping[str, Any] | None = None,
        passage_lang: str | Sequence[str] | None = None,
        augmented: bool = True,
        alpha: float | None = None,
        language_weights: Mapping[str, float] | None = None,
        hybrid: bool | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        """Find the passages that answer a question.

        Args:
            collection: to search in.
            question: in any language that the encoder knows.
            lang: ISO 639 code of its language; detected among the collection's when None.
            limit: most hits.
            filters: on the user's metadata: ``{"topic": "geology"}``, ``{"tags": ["a", "b"]}``
                (one of), ``{"author.born": {"gte": 1900}}`` (bounds, nested field).
            passage_lang: code or codes that the passage's language must be among.
            augmented: use the generated queries; False scores by the passage alone.
            alpha: the paper's, for this question; a ``tunable`` collection's own when None.
            language_weights: of each language's queries, by code, in a ``tunable`` collection;
                the question's own language alone when None.
            hybrid: fuse with the lexical ranking; when None, where the collection can. Scores
                then are no similarities, the highest possible is 1: :mod:`xqg_qdrant.hybrid`.
            exact: compare with every passage, never by HNSW.

        Returns:
            At most ``limit`` hits, best first.

        Raises:
            InputError: an argument is wrong.
            CollectionNotFound: there is no such collection.
            CollectionMismatch: it was built with another encoder than this client's.
        """
        return self.search_batch(
            collection,
            [question],
            lang=lang,
            limit=limit,
            filters=filters,
            passage_lang=passage_lang,
            augmented=augmented,
            alpha=alpha,
            language_weights=language_weights,
            hybrid=hybrid,
            exact=exact,
        )[0]

    def search_batch(
        self,
        collection: str,
        questions: Sequence[str],
        *,
        lang: str | Sequence[str | None] | None = None,
        limit: int = 10,
        filters: Mapping[str, Any] | None = None,
        passage_lang: str | Sequence[str] | None = None,
        augmented: bool = True,
        alpha: float | None = None,
        language_weights: Mapping[str, float] | None = None,
        hybrid: bool | None = None,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """Find the passages that answer each of many questions; faster than one by one.

        Args:
            collection: to search in.
            questions: in any languages.
            lang: one code for all questions, one (or None) for each, or None to detect all.
            limit: most hits for each question.
            filters: as in :meth:`search`.
            passage_lang: as in :meth:`search`.
            augmented: as in :meth:`search`.
            alpha: as in :meth:`search`.
            language_weights: as in :meth:`search`.
            hybrid: as in :meth:`search`.
            exact: as in :meth:`search`.

        Returns:
            For each question its hits, best first.

        Raises:
            InputError, CollectionNotFound, CollectionMismatch: as :meth:`search`.
        """
        if isinstance(questions, str):
            raise InputError("questions is one string: give a list, or use search")
        if not isinstance(questions, Iterable):
            raise InputError(f"questions is a {type(questions).__name__}: give a list")
        texts = [
            check_text(text, f"question {number}", limit=MAX_QUERY_CHARS)
            for number, text in enumerate(questions)
        ]
        languages = languages_of(texts, lang)
        where = parse_filters(filters, passage_lang)

        def ask() -> list[list[ScoredPoint]]:
            # One collection throughout, whatever its name moves to meanwhile.
            real, manifest, summed = self._manifest(collection)
            asking = Asking.of(
                manifest,
                collection,
                augmented=augmented,
                alpha=alpha,
                weights=language_weights,
                hybrid=hybrid,
            )
            encoder = self._encoders.for_collection(manifest, collection)
            spoken = languages
            if asking.needs_language(manifest):
                spoken = self._detectors.fill(texts, languages, manifest.languages)
            encoded = encoder.encode_queries(texts)
            vectors, using = asking.dense(manifest, encoded, spoken)
            if not asking.hybrid:
                return self._engine.search(
                    real, vectors, using=using, limit=limit, where=where, exact=exact
                )
            return self._engine.search_hybrid(
                real,
                vectors,
                asking.sparse(manifest, texts, spoken),
                perfect=asking.perfect(manifest, encoded, spoken, summed),
                using=using,
                sparse=SPARSE_VECTOR,
                limit=limit,
                where=where,
                exact=exact,
            )

        try:
            found = ask()
        except CollectionNotFound:  # perhaps replaced and deleted since its manifest was read
            self._manifests.pop(collection, None)
            found = ask()
        return [[hit_from_payload(point.payload, point.score) for point in each] for each in found]

    def collections(self) -> list[str]:
        """The names of the collections at this location, sorted; aliases are among them."""
        return self._engine.names()

    def info(self, collection: str) -> CollectionReport:
        """What is known of a collection.

        Raises:
            CollectionNotFound: there is none of that name.
            CollectionMismatch: xqg-qdrant did not make it.
        """
        self._engine.require(collection)
        real = self._engine.resolve(collection)
        manifest = read_manifest(self._engine, real)
        journal = read_journal(self._engine, real)
        statistics = read_statistics(self._engine, real)
        info = self._engine.info(real)
        return CollectionReport(
            name=collection,
            location=self.location,
            points=info.points,
            indexed=info.indexed,
            complete=journal is not None and journal.complete,
            loaded=0 if journal is None else journal.done,
            total=0 if journal is None else journal.total,
            queries=statistics.queries,
            query_share=mean_share(manifest, info.points, statistics.all_queries),
            manifest=manifest,
            alias_of=None if real == collection else str(real),
            storage=self._engine.storage(collection),
        )

    def delete(self, collection: str) -> None:
        """Destroy a collection and all that is in it.

        Raises:
            CollectionNotFound: there is none of that name.
        """
        with self._forgetting(collection):
            self._engine.delete(collection)

    @contextmanager
    def _forgetting(self, collection: str) -> Iterator[None]:
        """Before and after a change that may move the name, or alter the manifest."""
        self._manifests.pop(check_collection_name(collection), None)
        try:
            yield
        finally:
            self._manifests.pop(collection, None)

    def _manifest(self, collection: str) -> tuple[str, CollectionManifest, float]:
        """What a name stands for, its manifest, and how many queries its vectors sum on average.

        Looked up every few seconds at most; the last, which hybrid search alone needs, is 0 where
        the collection is not hybrid.
        """
        check_collection_name(collection)
        known = self._manifests.get(collection)
        if known is None or time.monotonic() - known[0] > MANIFEST_SECONDS:
            self._engine.require(collection)
            real = self._engine.resolve(collection)
            manifest = read_manifest(self._engine, real)
            mean = 0.0
            if manifest.hybrid:
                mean = mean_queries(manifest, read_statistics(self._engine, real))
            known = (time.monotonic(), real, manifest, mean)
            self._manifests[collection] = known
        return known[1:]

    def _encoding(
        self, encoder: Encoder, ray: str | RayCluster
    ) -> AbstractContextManager[Encoding]:
        from xqg_qdrant.ray_data import RayCluster, ray_encoding

        if not isinstance(ray, RayCluster):
            ray = RayCluster(ray, threads=self._encoders.threads or 1)
        return ray_encoding(encoder, ray)
