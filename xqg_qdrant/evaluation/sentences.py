"""LAReQA's task on XQuAD-R: mean average precision over sentences, in three settings.

Roy et al., "LAReQA: Language-Agnostic Answer Retrieval from a Multilingual Pool", EMNLP 2020,
https://arxiv.org/abs/2004.05484. Whole rankings are needed, so sentences are compared in memory,
exactly, not through a collection; they are encoded without the paragraph around them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from xqg_qdrant.corpus.xquad_r_sentences import XquadRSentences
from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.measures import Scores, mean
from xqg_qdrant.fusion import Matrix
from xqg_qdrant.records import Progress

if TYPE_CHECKING:
    from xqg_qdrant.models.encoder import Encoder

MONOLINGUAL = "mAP monolingual"
CROSS_LINGUAL = "mAP cross-lingual"
MULTILINGUAL = "mAP multilingual pool"
"""The measures: the pool is the sentences of the question's language; of one other language at a
time, averaged over those; of all languages at once, with an answer in each."""

_BLOCK = 512


def sentence_scores(
    encoder: Encoder,
    data: XquadRSentences,
    *,
    progress: Callable[[Progress], None] | None = None,
) -> Scores:
    """Average precision of every question in each setting.

    Settings that the data cannot have (one language alone) are left out.

    Args:
        encoder: of questions and sentences.
        data: what :func:`xqg_qdrant.corpus.xquad_r_sentences.read_xquad_r_sentences` read.
        progress: called while encoding.

    Raises:
        InputError: there are no questions, or one is in a single language of several.
    """
    if not data.questions:
        raise InputError("there are no questions to ask")
    asked = sorted(data.questions, key=lambda each: (each.question.lang, each.question.id))
    languages = [sentence.lang for sentence in data.sentences]
    pools = {
        language: np.flatnonzero(np.array(languages) == language)
        for language in sorted(set(languages))
    }
    sentences = _encode(encoder, [each.text for each in data.sentences], progress)
    questions = encoder.encode_queries([each.question.text for each in asked])
    values: dict[str, list[float]] = {MONOLINGUAL: [], CROSS_LINGUAL: [], MULTILINGUAL: []}
    for start in range(0, len(asked), _BLOCK):
        block = questions[start : start + _BLOCK] @ sentences.T
        for each, scores in zip(asked[start : start + _BLOCK], block, strict=True):
            relevant = data.answers[each.upstream_id]
            by_language: dict[str, list[int]] = {}
            for place in relevant:
                by_language.setdefault(languages[place], []).append(place)
            precision = {
                language: average_precision(
                    scores[pools[language]], np.searchsorted(pools[language], places)
                )
                for language, places in by_language.items()
            }
            own = each.question.lang
            values[MONOLINGUAL].append(precision[own])
            others = [found for language, found in precision.items() if language != own]
            if not others and len(pools) > 1:
                raise InputError(
                    f"question {each.question.id!r} is in no other language: there is no pool that "
                    "could answer it across languages"
                )
            values[CROSS_LINGUAL].append(mean(others) if others else 0.0)
            values[MULTILINGUAL].append(average_precision(scores, np.array(relevant)))
    if len(pools) == 1:
        values = {MONOLINGUAL: values[MONOLINGUAL]}
    return Scores(
        encoder.name,
        tuple(each.question.id for each in asked),
        tuple(each.question.lang for each in asked),
        tuple(each.upstream_id for each in asked),
        {name: np.array(found) for name, found in values.items()},
        np.zeros(len(asked), dtype=np.bool_),
        without="",
    )


def average_precision(scores: npt.NDArray[np.floating], relevant: npt.NDArray[np.integer]) -> float:
    """Average precision of a whole ranking by scores.

    Where others score the same as an answer they are taken to stand before it: ties do not
    inflate.

    Args:
        scores: of the n candidates.
        relevant: places of the k answers among them, each once.
    """
    answers = np.sort(scores[relevant])[::-1]
    others = np.delete(scores, relevant)
    before = np.array([(others >= answer).sum() for answer in answers])
    rank = np.arange(1, len(answers) + 1)
    return mean(rank / (rank + before))


def _encode(
    encoder: Encoder, texts: Sequence[str], progress: Callable[[Progress], None] | None
) -> Matrix:
    parts, done = [], 0
    for part in encoder.stream(texts, "passage"):
        parts.append(part.vectors)
        done += len(part.vectors)
        if progress is not None:
            progress(Progress("encoding", done, len(texts)))
    return np.concatenate(parts)
