"""Passages into a real collection, and questions asked of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xqg_qdrant.client import Client
from xqg_qdrant.errors import CollectionMismatch
from xqg_qdrant.evaluation.measures import DEPTH
from xqg_qdrant.loader import IngestReport, Progress
from xqg_qdrant.records import GeneratedQuery, Hit, Passage, Question


def load(
    client: Client,
    collection: str,
    passages: Sequence[Passage],
    queries: Sequence[GeneratedQuery] = (),
    *,
    layout: str,
    alpha: float | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> IngestReport:
    """Load passages and queries, or find them loaded by an earlier run.

    Raises:
        CollectionMismatch: the collection found holds other data.
        XqgError: loading failed.
    """
    report = client.ingest(
        collection, passages, queries, layout=layout, alpha=alpha, progress=progress
    )
    if report.points != len(passages):
        raise CollectionMismatch(
            f"collection {collection!r} at {report.location} holds {report.points} passages, this "
            f"data has {len(passages)}: other data was measured there. Delete the collection, or "
            "measure at another place"
        )
    return report


def ask(
    client: Client, collection: str, questions: Sequence[Question], *, detect_language: bool
) -> dict[str, Sequence[Hit]]:
    """The best hits of each question by its id, exactly, in its language as told or detected."""
    hits = client.search_batch(
        collection,
        [question.text for question in questions],
        lang=None if detect_language else [question.lang for question in questions],
        limit=DEPTH,
        exact=True,
    )
    return dict(zip((question.id for question in questions), hits, strict=True))
