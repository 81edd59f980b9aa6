"""Predictions for questions with answers, from a real collection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from xqg_qdrant.client import Client
from xqg_qdrant.evaluation.asking import Passages, Queries, load_data
from xqg_qdrant.layouts import DEFAULT_LAYOUT
from xqg_qdrant.loader import Progress
from xqg_qdrant.records import AnsweredQuestion, Prediction

DEPTH = 100
"""Passages a question: of a hundred words each they are twice what R@5kt looks at."""


def predict(
    client: Client,
    collection: str,
    passages: Passages,
    queries: Queries,
    questions: Sequence[AnsweredQuestion],
    *,
    layout: str = DEFAULT_LAYOUT,
    alpha: float | None = None,
    hybrid: bool = False,
    depth: int = DEPTH,
    detect_language: bool = False,
    plain: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> list[tuple[str, Iterator[Prediction]]]:
    """Load a corpus into a collection, and ask it questions.

    Args:
        client: where the collection is made, or found from an earlier run.
        collection: its name; with queries, their layout is added to it.
        passages: a JSONL file, or passages.
        queries: a JSONL file, or generated queries; may be none.
        questions: to ask.
        layout: of the collection.
        alpha: the paper's; the layout's default when None.
        hybrid: with lexical vectors beside the dense ones, fused.
        depth: passages a question.
        detect_language: detect the language of questions instead of telling it.
        plain: ask without the queries too, for a baseline.
        progress: called while loading.

    Returns:
        The system's name and its predictions, streamed; with ``plain`` those of the passages
        alone after it. Texts are without titles, as in the official predictions.

    Raises:
        CollectionMismatch: the collection found holds other data.
        XqgError: loading or searching failed.
    """
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
    asked = [each.question for each in questions]

    def predictions(*, plain: bool) -> Iterator[Prediction]:
        for question, hits in loaded.hits(
            asked, plain=plain, detect_language=detect_language, depth=depth
        ):
            yield Prediction(question.id, question.lang, tuple(hit.text for hit in hits))

    systems = [(loaded.system, predictions(plain=False))]
    if plain:
        systems.append((loaded.encoder, predictions(plain=True)))
    return systems
