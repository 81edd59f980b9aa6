"""AfriQA through a real collection: questions in African languages, English gold passages."""

from __future__ import annotations

from collections.abc import Callable

from xqg_qdrant.client import Client
from xqg_qdrant.corpus.afriqa import AfriQA
from xqg_qdrant.errors import CollectionMismatch
from xqg_qdrant.evaluation.measures import DEPTH, Row, measure
from xqg_qdrant.loader import Progress

COLLECTION = "afriqa"


def evaluate_afriqa(
    client: Client,
    data: AfriQA,
    *,
    detect_language: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> list[Row]:
    """Load the gold passages into a collection and ask it the questions.

    Args:
        client: where the collection ``afriqa`` is made, or found from an earlier run.
        data: what :func:`xqg_qdrant.corpus.afriqa.read_afriqa` read.
        detect_language: detect the language of questions instead of telling it.
        progress: called while loading.

    Raises:
        CollectionMismatch: the collection found holds other data.
        XqgError: loading or searching failed.
    """
    report = client.ingest(COLLECTION, data.passages, [], progress=progress)
    if report.points != len(data.passages):
        raise CollectionMismatch(
            f"collection {COLLECTION!r} at {report.location} holds {report.points} passages, this "
            f"data has {len(data.passages)}: other data was measured there. Delete the "
            "collection, or measure at another place"
        )
    hits = client.search_batch(
        COLLECTION,
        [asked.question.text for asked in data.questions],
        lang=None if detect_language else [asked.question.lang for asked in data.questions],
        limit=DEPTH,
        exact=True,
    )
    return measure(
        report.encoder,
        [asked.qrel for asked in data.questions],
        dict(zip((asked.question.id for asked in data.questions), hits, strict=True)),
        {asked.question.id: asked.question.lang for asked in data.questions},
    )
