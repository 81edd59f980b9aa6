"""AfriQA through a real collection: questions in African languages, English gold passages."""

from __future__ import annotations

from collections.abc import Callable

from xqg_qdrant.client import Client
from xqg_qdrant.corpus.afriqa import AfriQA
from xqg_qdrant.evaluation.asking import ask, load
from xqg_qdrant.evaluation.measures import Row, measure
from xqg_qdrant.layouts import DEFAULT_LAYOUT
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
    report = load(client, COLLECTION, data.passages, layout=DEFAULT_LAYOUT, progress=progress)
    questions = [asked.question for asked in data.questions]
    return measure(
        report.encoder,
        [asked.qrel for asked in data.questions],
        ask(client, COLLECTION, questions, detect_language=detect_language),
        {question.id: question.lang for question in questions},
    )
