"""XQuAD-R as LAReQA asks it: questions against the sentences of all languages.

LAReQA (Roy et al., EMNLP 2020, section 3.1), https://github.com/google-research-datasets/lareqa:
the candidates are the sentences between upstream's own sentence breaks, and the one in which the
answer begins is the answer, in every language that has the question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xqg_qdrant.corpus.checks import check_question, check_text
from xqg_qdrant.corpus.xquad_r import files_of, paragraphs_of, questions_of
from xqg_qdrant.errors import InputError
from xqg_qdrant.records import Question


@dataclass(frozen=True, slots=True)
class Sentence:
    """A candidate.

    Attributes:
        id: ``LANG:ARTICLE-PARAGRAPH-SENTENCE``, counted from 0.
        lang: ISO 639 code.
        text: the sentence.
    """

    id: str
    lang: str
    text: str


@dataclass(frozen=True, slots=True)
class SentenceQuestion:
    """A question.

    Attributes:
        question: its id is ``LANG:UPSTREAM_ID``.
        upstream_id: the same for all its translations.
        article: from 1.
    """

    question: Question
    upstream_id: str
    article: int


@dataclass(frozen=True, slots=True)
class XquadRSentences:
    """The sentences and questions of every language found.

    Attributes:
        sentences: of all languages.
        questions: of all languages.
        answers: for each upstream id the places in ``sentences`` that answer it, of each language
            that has the question.
    """

    sentences: tuple[Sentence, ...]
    questions: tuple[SentenceQuestion, ...]
    answers: Mapping[str, tuple[int, ...]]


def read_xquad_r_sentences(
    folder: Path, *, articles: tuple[int, int] | None = None
) -> XquadRSentences:
    """Read XQuAD-R's sentences.

    Args:
        folder: holds a file for every language.
        articles: first and last, from 1, whose questions are asked; all when None. All sentences
            stay in the pool.

    Raises:
        InputError: there are no files, a file is malformed or has no sentence breaks, or an answer
            begins in no sentence; it names the place.
    """
    sentences: list[Sentence] = []
    questions: list[SentenceQuestion] = []
    answers: dict[str, list[int]] = {}
    for language, path in files_of(folder).items():
        seen: set[str] = set()
        for passage_id, _, paragraph, where in paragraphs_of(path):
            start = len(sentences)
            breaks = _breaks(paragraph, where)
            for number, (first, last) in enumerate(breaks):
                text = check_text(
                    str(paragraph.get("context", ""))[first:last],
                    f"{where}.sentence_breaks[{number}]",
                )
                sentences.append(Sentence(f"{language}:{passage_id}-{number}", language, text))
            article = int(passage_id.partition("-")[0]) + 1
            for place, upstream_id, text, qas in _questions(paragraph, where):
                if upstream_id in seen:
                    raise InputError(f"{place}: question {upstream_id!r} comes twice in this file")
                seen.add(upstream_id)
                found = {start + _sentence_at(each, breaks, place) for each in _starts(qas, place)}
                answers.setdefault(upstream_id, []).extend(sorted(found))
                if articles is None or articles[0] <= article <= articles[1]:
                    question = Question(f"{language}:{upstream_id}", language, text)
                    questions.append(
                        SentenceQuestion(check_question(question), upstream_id, article)
                    )
    if not questions:
        raise InputError(
            f"{folder}: there are no questions"
            + ("" if articles is None else f" in articles {articles[0]} to {articles[1]}")
            + ": give the folder of XQuAD-R's LANG.json files "
            "(github.com/google-research-datasets/lareqa)"
        )
    return XquadRSentences(
        tuple(sentences),
        tuple(questions),
        {name: tuple(places) for name, places in answers.items()},
    )


def _questions(
    paragraph: Mapping[str, Any], where: str
) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    for number, (place, upstream_id, text) in enumerate(questions_of(paragraph, where)):
        yield place, upstream_id, text, paragraph["qas"][number]


def _breaks(paragraph: Mapping[str, Any], where: str) -> list[tuple[int, int]]:
    breaks, context = paragraph.get("sentence_breaks"), paragraph.get("context")
    if not isinstance(context, str):
        raise InputError(f"{where}: field 'context' must be a string")
    if not isinstance(breaks, list) or not breaks:
        raise InputError(
            f"{where}: no field 'sentence_breaks' (XQuAD has none, XQuAD-R has): the sentences "
            "task needs it"
        )
    found = []
    for number, pair in enumerate(breaks):
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or not all(isinstance(each, int) and not isinstance(each, bool) for each in pair)
            or not 0 <= pair[0] < pair[1] <= len(context)
        ):
            raise InputError(
                f"{where}.sentence_breaks[{number}]: expected [start, end] in the text"
            )
        found.append((pair[0], pair[1]))
    return found


def _starts(qas: Mapping[str, Any], place: str) -> list[int]:
    answers = qas.get("answers")
    if not isinstance(answers, list) or not answers:
        raise InputError(f"{place}: no answers: nothing says which sentence answers it")
    starts = [each.get("answer_start") if isinstance(each, dict) else None for each in answers]
    if not all(isinstance(each, int) and not isinstance(each, bool) for each in starts):
        raise InputError(f"{place}: every answer needs a whole number 'answer_start'")
    return [int(each) for each in starts if each is not None]


def _sentence_at(start: int, breaks: list[tuple[int, int]], place: str) -> int:
    for number, (first, last) in enumerate(breaks):
        if first <= start < last:
            return number
    raise InputError(f"{place}: its answer begins at {start}, which is in no sentence")
