"""AfriQA through a real collection: questions in African languages, English gold passages."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from xqg_qdrant.client import Client
from xqg_qdrant.corpus.afriqa import AfriQA
from xqg_qdrant.evaluation.asking import Queries, retrieve
from xqg_qdrant.evaluation.measures import MEASURES, JudgedRun, Row, depth_of, rows_of, score
from xqg_qdrant.layouts import DEFAULT_LAYOUT
from xqg_qdrant.loader import Progress

COLLECTION = "afriqa"


def retrieve_afriqa(
    client: Client,
    data: AfriQA,
    queries: Queries = (),
    *,
    layout: str = DEFAULT_LAYOUT,
    alpha: float | None = None,
    hybrid: bool = False,
    measures: Iterable[str] = MEASURES,
    detect_language: bool = False,
    plain: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[JudgedRun, JudgedRun | None]:
    """Load the gold passages into a collection and ask it the questions.

    Args:
        client: where the collection ``afriqa`` is made, or found from an earlier run.
        data: what :func:`xqg_qdrant.corpus.afriqa.read_afriqa` read.
        queries: generated queries for the passages, a JSONL file or queries; may be none.
        layout: of the collection.
        alpha: the paper's; the layout's default when None.
        hybrid: with lexical vectors beside the dense ones, fused.
        measures: those that the run is for: they say how many hits a question it needs.
        detect_language: detect the language of questions instead of telling it.
        plain: ask without the queries too, for a baseline.
        progress: called while loading.

    Returns:
        The run, and where ``plain`` was asked for that of the passages alone.

    Raises:
        CollectionMismatch: the collection found holds other data.
        XqgError: loading or searching failed.
    """
    return retrieve(
        client,
        COLLECTION,
        data.passages,
        queries,
        [asked.question for asked in data.questions],
        [asked.qrel for asked in data.questions],
        layout=layout,
        alpha=alpha,
        hybrid=hybrid,
        depth=depth_of(measures),
        detect_language=detect_language,
        plain=plain,
        progress=progress,
    )


def evaluate_afriqa(
    client: Client,
    data: AfriQA,
    *,
    measures: Iterable[str] = MEASURES,
    detect_language: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> list[Row]:
    """The figures of :func:`retrieve_afriqa`, without queries."""
    named = tuple(measures)
    judged, _ = retrieve_afriqa(
        client, data, measures=named, detect_language=detect_language, progress=progress
    )
    return rows_of(score(judged, named))
