"""XQuAD-R through a real collection: plain, augmented by perfect queries, and the control."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

from xqg_qdrant.client import Client
from xqg_qdrant.corpus.xquad_r import PlacedQuestion, XquadR
from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.asking import ask, load, system_name
from xqg_qdrant.evaluation.measures import MEASURES, JudgedRun, Row, depth_of, rows_of, score
from xqg_qdrant.layouts import DEFAULT_LAYOUT, layout_named
from xqg_qdrant.loader import Progress
from xqg_qdrant.queries.sentences import sentence_queries, split_sentences
from xqg_qdrant.records import GeneratedQuery, ScoredPassage

Augment = Literal["none", "sentences", "questions"]

AUGMENTS: tuple[Augment, ...] = ("none", "sentences", "questions")
FOLDS = 2


def retrieve_xquad_r(
    client: Client,
    data: XquadR,
    *,
    augment: Augment = "none",
    layout: str = DEFAULT_LAYOUT,
    alpha: float | None = None,
    hybrid: bool = False,
    articles: tuple[int, int] | None = None,
    measures: Iterable[str] = MEASURES,
    detect_language: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> JudgedRun:
    """Load the English paragraphs into a collection and ask it the questions of all languages.

    ``questions`` simulates a perfect generator without leaks: two folds by the position of a
    question in its paragraph, even ones augment while odd ones ask, then the other way round;
    figures are pooled over both. ``sentences`` is the control, the passage's own sentences: the
    same sum for askers of every language, so one fused vector holds it.

    Args:
        client: where collections ``xquad-r-…`` are made, or found from an earlier run.
        data: what :func:`xqg_qdrant.corpus.xquad_r.read_xquad_r` read.
        augment: what stands in for generated queries.
        layout: of the collections.
        alpha: the paper's; the layout's default when None.
        hybrid: with lexical vectors beside the dense ones, fused.
        articles: first and last article, from 1, whose questions are asked; all when None. The
            others' paragraphs stay in the pool, and their questions augment them all the same.
        measures: those that the run is for: they say how many hits a question it needs.
        detect_language: detect the language of questions instead of telling it.
        progress: called while loading.

    Raises:
        InputError: an argument is wrong.
        CollectionMismatch: a collection found holds other data.
        XqgError: loading or searching failed.
    """
    if augment not in AUGMENTS:
        raise InputError(f"unknown augmentation {augment!r}: choose one of {', '.join(AUGMENTS)}")
    depth = depth_of(measures)
    counted = data.of_articles(articles)
    chosen = layout_named(layout)
    if alpha is None:
        alpha = client.default_alpha(layout, hybrid=hybrid)
    chosen.chosen_alpha(alpha, hybrid=hybrid)  # for its checks
    if augment == "none":
        folds: list[tuple[list[GeneratedQuery], Sequence[PlacedQuestion]]] = [([], counted)]
    elif augment == "sentences":
        folds = [(list(_sentences(data)), counted)]
        layout = "fused" if chosen.default_alpha else layout
    else:
        folds = [_fold(data.questions, counted, fold) for fold in range(FOLDS)]
    run: dict[str, Sequence[ScoredPassage]] = {}
    encoder = ""
    for number, (queries, asked) in enumerate(folds):
        collection = f"xquad-r-{augment}-{layout}-{number}" + ("-hybrid" if hybrid else "")
        report = load(
            client,
            collection,
            data.passages,
            queries,
            layout=layout,
            alpha=alpha,
            hybrid=hybrid,
            progress=progress,
        )
        encoder = report.encoder
        questions = [placed.question for placed in asked]
        run.update(ask(client, collection, questions, detect_language=detect_language, depth=depth))
    system = system_name(encoder, augment, layout, alpha, hybrid=hybrid)
    return JudgedRun(
        system,
        tuple(placed.qrel for placed in counted),
        run,
        {placed.question.id: placed.question.lang for placed in counted},
        {placed.question.id: placed.upstream_id for placed in counted},
    )


def evaluate_xquad_r(
    client: Client,
    data: XquadR,
    *,
    measures: Iterable[str] = MEASURES,
    **options: Any,
) -> list[Row]:
    """The figures of :func:`retrieve_xquad_r`, which says what ``options`` there are."""
    named = tuple(measures)
    return rows_of(score(retrieve_xquad_r(client, data, measures=named, **options), named))


def _fold(
    questions: Sequence[PlacedQuestion], counted: Sequence[PlacedQuestion], fold: int
) -> tuple[list[GeneratedQuery], Sequence[PlacedQuestion]]:
    """Queries of this fold's parity, and the counted questions of the other."""
    queries = [
        GeneratedQuery(placed.passage_id, placed.question.lang, placed.question.text)
        for placed in questions
        if placed.position % FOLDS == fold
    ]
    return queries, [placed for placed in counted if placed.position % FOLDS != fold]


def _sentences(data: XquadR) -> Iterator[GeneratedQuery]:
    """Upstream's sentences; XQuAD has none, and is split."""
    for passage in data.passages:
        sentences = data.sentences[passage.id] or split_sentences(passage.text, passage.lang)
        yield from sentence_queries(passage, sentences)
