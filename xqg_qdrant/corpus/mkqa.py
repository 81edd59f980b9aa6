"""MKQA: the same questions in 26 languages, with answers.

Longpre, Lu and Daiber, "MKQA: A Linguistically Diverse Benchmark for Multilingual Open Domain
Question Answering", TACL 2021, https://github.com/apple/ml-mkqa.

It has no passages: whether a passage answers is told by English answers that stand in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xqg_qdrant.corpus.checks import check_id, check_question
from xqg_qdrant.corpus.jsonl import Source, read_rows
from xqg_qdrant.errors import InputError
from xqg_qdrant.languages import normalize_language
from xqg_qdrant.records import AnsweredQuestion, Question

ANSWER_LANGUAGE = "en"

_NO_SPANS = ("unanswerable", "binary", "long_answer")
"""Types of answers that are no texts to look for."""


def read_mkqa(
    source: Source, *, languages: tuple[str, ...] | None = None
) -> list[AnsweredQuestion]:
    """Read questions: ``{"example_id", "queries": {language: text}, "answers": {"en": …}}`` a line.

    A question's id is ``LANGUAGE:EXAMPLE_ID``, the language as upstream spells it (``zh_cn`` and
    ``zh_tw`` are both Chinese, and two questions). Questions without a text as an answer come
    with none.

    Args:
        source: ``mkqa.jsonl.gz``, or a file like it.
        languages: to ask in, ISO 639-1; all that are found when None.

    Raises:
        InputError: the file cannot be read, a line is no such question, an id comes twice, or
            there are no questions in these languages; it names file and line.
    """

    def build(row: dict[str, Any]) -> list[AnsweredQuestion]:
        for field in ("example_id", "queries", "answers"):
            if row.get(field) is None:
                raise InputError(
                    f"no field {field!r}: questions of MKQA have example_id, queries and answers"
                )
        example = check_id(row["example_id"], "example_id")
        answers = _answers(row["answers"])
        if not isinstance(row["queries"], dict):
            raise InputError("'queries' must be an object of texts by language")
        found = []
        for code, text in row["queries"].items():
            language = normalize_language(code)
            if languages is None or language in languages:
                question = check_question(Question(f"{code}:{example}", language, text))
                found.append(AnsweredQuestion(question, answers, example))
        return found

    questions: list[AnsweredQuestion] = []
    seen: set[str] = set()
    for where, built in read_rows(source, build):
        for each in built:
            if each.question.id in seen:
                raise InputError(f"{where}: question {each.question.id!r} comes twice")
            seen.add(each.question.id)
        questions += built
    if not questions:
        wanted = f" in {', '.join(languages)}" if languages else ""
        raise InputError(f"{source}: there are no questions{wanted}")
    return questions


def _answers(by_language: Any) -> tuple[str, ...]:
    english = by_language.get(ANSWER_LANGUAGE) if isinstance(by_language, Mapping) else None
    if not isinstance(english, list) or not all(isinstance(each, dict) for each in english):
        raise InputError(f"'answers' must have a list of objects under {ANSWER_LANGUAGE!r}")
    texts: list[str] = []
    for each in english:
        if each.get("type") in _NO_SPANS:
            continue
        aliases = each.get("aliases") or []
        if not isinstance(aliases, list):
            raise InputError("aliases of answers must be lists of strings")
        texts += [text for text in (each.get("text"), *aliases) if text]
    if not all(isinstance(text, str) for text in texts):
        raise InputError("texts and aliases of answers must be strings")
    return tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))
