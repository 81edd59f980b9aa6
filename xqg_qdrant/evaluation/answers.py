"""R@kt: does an answer stand in the first k thousand words of what was found?

XOR-TyDi's measure of retrieval (Asai et al., "XOR QA: Cross-lingual Open-Retrieval Question
Answering", NAACL 2021), counted exactly as its official script does: passages are cut into words
by NLTK, joined, cut off after k thousand words, and an answer is found if it is a part of that
string, in the same case. ``yes`` and ``no`` are no answers, questions with no other are left out.

That script divides by the questions that the predictions name, so a system that keeps quiet about
hard ones gains. Both are computed here: the official figure, and the one over all questions.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.measures import AVERAGE, Row, Scores
from xqg_qdrant.evaluation.words import Tokenizer, word_tokenizer
from xqg_qdrant.records import AnsweredQuestion, Prediction

BUDGETS = {"R@2kt": 2_000, "R@5kt": 5_000}
"""The measures, and the words that each looks at."""

_KEPT_TEXTS = 8_192

OFFICIAL = "official"
"""Stands before a measure that is over the predicted questions only."""

_NO_SPANS = ("yes", "no")


@dataclass(frozen=True, slots=True)
class Found:
    """Whether a prediction holds an answer.

    Attributes:
        question_id: of the question.
        lang: as the prediction says it.
        hits: for each measure whether an answer is found; None where the official script does
            not count the prediction: its question is unknown, or has no answer but yes or no.
    """

    question_id: str
    lang: str
    hits: Mapping[str, bool] | None


def span_answers(answers: Iterable[str]) -> tuple[str, ...]:
    """The answers that can be looked for: all but ``yes`` and ``no``."""
    return tuple(answer for answer in answers if answer not in _NO_SPANS)


def find_answers(
    predictions: Iterable[Prediction],
    answers: Mapping[str, Sequence[str]],
    *,
    tokenize: Tokenizer | None = None,
) -> Iterator[Found]:
    """Look for answers in predictions, one by one.

    Args:
        predictions: what was found for each question, best first.
        answers: of each question id.
        tokenize: cuts a text into words; as NLTK does when None.

    Raises:
        InputError: NLTK or its model is missing.
    """
    # The same passages are found for many questions.
    cut = lru_cache(_KEPT_TEXTS)(tokenize or word_tokenizer())
    deepest = max(BUDGETS.values())
    for prediction in predictions:
        spans = span_answers(answers.get(prediction.question_id, ()))
        if not spans:
            yield Found(prediction.question_id, prediction.lang, None)
            continue
        words: list[str] = []
        for text in prediction.texts:
            words += cut(text)
            if len(words) >= deepest:
                break
        hits = {}
        for name, budget in BUDGETS.items():
            joined = " ".join(words[:budget])
            hits[name] = any(answer in joined for answer in spans)
        yield Found(prediction.question_id, prediction.lang, hits)


def official_rows(system: str, found: Iterable[Found]) -> list[Row]:
    """The official script's figures: over the predicted questions, macro-averaged.

    A prediction that comes twice counts twice, and languages are as predictions name them, in
    the order in which they come, as there. ``100 * value`` is what the script prints.

    Raises:
        InputError: there is nothing to count.
    """
    counted: dict[str, list[Mapping[str, bool]]] = {}
    for each in found:
        if each.hits is not None:
            counted.setdefault(each.lang, []).append(each.hits)
    if not counted:
        raise InputError("no prediction is of a question with an answer to look for")
    rows = []
    for language, all_hits in counted.items():
        for name in BUDGETS:
            share = sum(hits[name] for hits in all_hits) / len(all_hits)
            rows.append(Row(system, language, f"{OFFICIAL} {name}", share, len(all_hits)))
    total = sum(len(all_hits) for all_hits in counted.values())
    for name in BUDGETS:
        measure = f"{OFFICIAL} {name}"
        shares = [row.value for row in rows if row.measure == measure]
        rows.append(Row(system, AVERAGE, measure, statistics.mean(shares), total))
    return rows


def answer_scores(
    system: str, found: Iterable[Found], questions: Sequence[AnsweredQuestion]
) -> Scores:
    """Whether an answer is found for each question that has one; 0 where nothing was predicted.

    Of predictions that come twice the first counts.

    Raises:
        InputError: no question has an answer to look for.
    """
    asked = sorted(
        (each for each in questions if span_answers(each.answers)),
        key=lambda each: (each.question.lang, each.question.id),
    )
    if not asked:
        raise InputError("no question has an answer but yes or no: there is nothing to look for")
    place = {each.question.id: number for number, each in enumerate(asked)}
    values = {name: np.zeros(len(asked)) for name in BUDGETS}
    missing = np.ones(len(asked), dtype=np.bool_)
    for each in found:
        number = place.get(each.question_id)
        if each.hits is None or number is None or not missing[number]:
            continue
        missing[number] = False
        for name, hit in each.hits.items():
            values[name][number] = hit
    return Scores(
        system,
        tuple(each.question.id for each in asked),
        tuple(each.question.lang for each in asked),
        tuple(each.cluster or each.question.id for each in asked),
        values,
        missing,
    )


def measure_answers(
    system: str, predictions: Iterable[Prediction], questions: Sequence[AnsweredQuestion]
) -> tuple[Scores, list[Row]]:
    """Score predictions: over all questions, and as the official script does.

    Raises:
        InputError: no prediction is of any of the questions, none has an answer to look for, or
            NLTK is missing.
    """
    answers = {each.question.id: each.answers for each in questions}
    found = list(find_answers(predictions, answers))
    if not any(each.question_id in answers for each in found):
        raise InputError(
            f"{system}: no prediction is of any of the {len(questions):,} questions, which have "
            f"ids like {next(iter(answers), '')!r}"
        )
    return answer_scores(system, found, questions), official_rows(system, found)
