"""Passages into a real collection, and questions asked of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xqg_qdrant.client import Client
from xqg_qdrant.errors import CollectionMismatch
from xqg_qdrant.evaluation.measures import DEPTH, JudgedRun
from xqg_qdrant.layouts import DEFAULT_LAYOUT, layout_named
from xqg_qdrant.loader import IngestReport, Progress
from xqg_qdrant.records import GeneratedQuery, Hit, Passage, Qrel, Question, ScoredPassage

Passages = str | os.PathLike[str] | Iterable[Passage | Mapping[str, Any]]
Queries = str | os.PathLike[str] | Iterable[GeneratedQuery | Mapping[str, Any]]

BATCH = 512
"""Questions asked at a time: what is kept of their hits is small, the hits are not."""


def load(
    client: Client,
    collection: str,
    passages: Passages,
    queries: Queries = (),
    *,
    layout: str,
    alpha: float | None = None,
    hybrid: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> IngestReport:
    """Load passages and queries, or find them loaded by an earlier run.

    Raises:
        CollectionMismatch: the collection found holds other data.
        XqgError: loading failed.
    """
    report = client.ingest(
        collection,
        passages,
        queries,
        layout=layout,
        alpha=alpha,
        hybrid=hybrid,
        reload=False,
        progress=progress,
    )
    if report.points != report.passages:
        raise CollectionMismatch(
            f"collection {collection!r} at {report.location} holds {report.points} passages, this "
            f"data has {report.passages}: other data was measured there. Delete the collection, or "
            "measure at another place"
        )
    return report


def ask(
    client: Client,
    collection: str,
    questions: Sequence[Question],
    *,
    detect_language: bool,
    depth: int = DEPTH,
) -> dict[str, Sequence[ScoredPassage]]:
    """The best hits of each question by its id, exactly, in its language as told or detected."""
    return _kept(
        hits_of(client, collection, questions, detect_language=detect_language, depth=depth)
    )


def hits_of(
    client: Client,
    collection: str,
    questions: Sequence[Question],
    *,
    detect_language: bool,
    depth: int = DEPTH,
    augmented: bool = True,
    alpha: float | None = None,
    language_weights: Mapping[str, float] | None = None,
) -> Iterator[tuple[Question, list[Hit]]]:
    """Each question and its best hits, exactly, a batch at a time.

    ``alpha`` and ``language_weights`` are for collections of layout ``tunable``.
    """
    batch = max(1, BATCH * DEPTH // max(depth, DEPTH))
    for start in range(0, len(questions), batch):
        asked = questions[start : start + batch]
        hits = client.search_batch(
            collection,
            [question.text for question in asked],
            lang=None if detect_language else [question.lang for question in asked],
            limit=depth,
            augmented=augmented,
            alpha=alpha,
            language_weights=language_weights,
            exact=True,
        )
        yield from zip(asked, hits, strict=True)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A data set in a collection, and how to ask it.

    Attributes:
        client: that asks.
        system: what figures call it.
        collection: of passages and queries.
        encoder: what figures call the search without queries.
        alone: where to ask for that; the same collection where the layout keeps passages apart.
    """

    client: Client
    system: str
    collection: str
    encoder: str
    alone: str | None

    def hits(
        self,
        questions: Sequence[Question],
        *,
        plain: bool,
        detect_language: bool,
        depth: int,
    ) -> Iterator[tuple[Question, list[Hit]]]:
        """Each question and its best hits, with the queries or without."""
        where = self.alone if plain else self.collection
        assert where is not None
        return hits_of(
            self.client,
            where,
            questions,
            detect_language=detect_language,
            depth=depth,
            augmented=not plain or where != self.collection,
        )


def load_data(
    client: Client,
    collection: str,
    passages: Passages,
    queries: Queries,
    *,
    layout: str,
    alpha: float | None,
    hybrid: bool,
    plain: bool,
    progress: Callable[[Progress], None] | None,
) -> Loaded:
    """Load a data set, so that it can be asked with its queries, and ``plain``, without.

    Raises:
        CollectionMismatch: a collection found holds other data.
        XqgError: loading failed.
    """
    collection += "-hybrid" if hybrid else ""
    alone = collection
    if queries:
        collection = f"{collection}-queries-{layout}"
    keeps_plain = layout_named(layout).plain_vector() is not None
    if plain and not keeps_plain and isinstance(passages, Iterator):
        passages = list(passages)  # they are needed twice

    def loaded(name: str, queries: Queries) -> IngestReport:
        return load(
            client,
            name,
            passages,
            queries,
            layout=layout,
            alpha=alpha,
            hybrid=hybrid,
            progress=progress,
        )

    report = loaded(collection, queries)
    if plain and not keeps_plain:
        loaded(alone, ())
    baseline = system_name(report.encoder, hybrid=hybrid)
    name = baseline
    if report.queries:
        name = system_name(
            report.encoder, "queries", report.layout, report.alpha, hybrid=report.hybrid
        )
    return Loaded(client, name, collection, baseline, collection if keeps_plain else alone)


def system_name(
    encoder: str, augment: str = "none", layout: str = "", alpha: float = 0.0, *, hybrid: bool
) -> str:
    """A system as tables call it: what it consists of."""
    name = f"{encoder}, hybrid" if hybrid else encoder
    if augment == "none":
        return name
    name = f"{name} + {augment}, {layout}"
    return f"{name}, alpha {alpha:g}" if layout_named(layout).default_alpha else name


def retrieve(
    client: Client,
    collection: str,
    passages: Passages,
    queries: Queries,
    questions: Sequence[Question],
    qrels: Iterable[Qrel],
    *,
    layout: str = DEFAULT_LAYOUT,
    alpha: float | None = None,
    hybrid: bool = False,
    depth: int = DEPTH,
    detect_language: bool = False,
    plain: bool = False,
    clusters: Mapping[str, str] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[JudgedRun, JudgedRun | None]:
    """Load a data set into a collection, and ask it its questions.

    Args:
        client: where the collection is made, or found from an earlier run.
        collection: its name; with queries, their layout is added to it.
        passages: a JSONL file, or passages.
        queries: a JSONL file, or generated queries; may be none.
        questions: to ask.
        qrels: their answers.
        layout: of the collection.
        alpha: the paper's; the layout's default when None.
        hybrid: with lexical vectors beside the dense ones, fused.
        depth: hits a question.
        detect_language: detect the language of questions instead of telling it.
        plain: ask without the queries too, for a baseline.
        clusters: see :class:`JudgedRun`.
        progress: called while loading.

    Returns:
        The run, and where ``plain`` was asked for that of the passages alone.

    Raises:
        CollectionMismatch: the collection found holds other data.
        XqgError: loading or searching failed.
    """
    judged = tuple(qrels)
    languages = {question.id: question.lang for question in questions}
    loaded = load_data(
        client,
        collection,
        passages,
        queries,
        layout=layout,
        alpha=alpha,
        hybrid=hybrid,
        plain=plain,
        progress=progress,
    )

    def run(name: str, *, plain: bool) -> JudgedRun:
        hits = loaded.hits(questions, plain=plain, detect_language=detect_language, depth=depth)
        return JudgedRun(name, judged, _kept(hits), languages, clusters or {})

    system = run(loaded.system, plain=False)
    return system, run(loaded.encoder, plain=True) if plain else None


def _kept(hits: Iterable[tuple[Question, list[Hit]]]) -> dict[str, Sequence[ScoredPassage]]:
    return {
        question.id: tuple(ScoredPassage(hit.id, hit.score) for hit in each)
        for question, each in hits
    }
