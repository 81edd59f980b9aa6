"""XQuAD-R in its upstream layout: one ``LANG.json`` a language, paragraphs parallel across files.

LAReQA (Roy et al., EMNLP 2020), https://github.com/google-research-datasets/lareqa.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xqg_qdrant.corpus.checks import check_passage, check_question, check_text
from xqg_qdrant.corpus.jsonl import read_json_object
from xqg_qdrant.errors import InputError
from xqg_qdrant.languages import normalize_language
from xqg_qdrant.records import Passage, Qrel, Question

POOL_LANGUAGE = "en"

_FILE = re.compile(r"(?:xquad\.)?([a-z]{2,3})\.json")


@dataclass(frozen=True, slots=True)
class PlacedQuestion:
    """A question with its answer's place.

    Attributes:
        question: its id is unique over all languages (``LANG:UPSTREAM_ID``).
        passage_id: the paragraph that answers it.
        position: among the questions of its paragraph, from 0; in English, where English has
            the question, so that translations of one question are never in different folds.
    """

    question: Question
    passage_id: str
    position: int

    @property
    def upstream_id(self) -> str:
        """The id that it has in every language's file, the same for all its translations."""
        return self.question.id.partition(":")[2]

    @property
    def article(self) -> int:
        """The article that it is about, counted from 1 in the order of the English file."""
        return int(self.passage_id.partition("-")[0]) + 1

    @property
    def qrel(self) -> Qrel:
        """The judgement."""
        return Qrel(self.question.id, self.passage_id)


@dataclass(frozen=True, slots=True)
class XquadR:
    """The English paragraphs, and the questions of every language found.

    Attributes:
        passages: all English paragraphs, those without questions included.
        sentences: of each paragraph, by passage id; empty where upstream has none.
        questions: of all languages.
    """

    passages: tuple[Passage, ...]
    sentences: Mapping[str, tuple[str, ...]]
    questions: tuple[PlacedQuestion, ...]

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages with questions, sorted."""
        return tuple(sorted({placed.question.lang for placed in self.questions}))

    def of_articles(self, articles: tuple[int, int] | None) -> tuple[PlacedQuestion, ...]:
        """The questions of the first to the last of these articles, from 1; all when None.

        Raises:
            InputError: there are none.
        """
        if articles is None:
            return self.questions
        first, last = articles
        found = tuple(placed for placed in self.questions if first <= placed.article <= last)
        if not found:
            raise InputError(f"no questions in articles {first} to {last}: choose others")
        return found


def read_xquad_r(folder: Path, *, titles: bool = False) -> XquadR:
    """Read XQuAD-R.

    Args:
        folder: holds ``en.json`` and a file for every other language.
        titles: give paragraphs their article's title. LAReQA has none, so figures with titles
            cannot be compared to others'.

    Raises:
        InputError: a file is missing or malformed, or nothing says which paragraph answers a
            question; it names the place.
    """
    files = files_of(folder)
    if POOL_LANGUAGE not in files:
        raise InputError(
            f"{folder} holds no {POOL_LANGUAGE}.json: give the folder of XQuAD-R's LANG.json files "
            "(github.com/google-research-datasets/lareqa)"
        )
    passages: list[Passage] = []
    sentences: dict[str, tuple[str, ...]] = {}
    placed: dict[str, tuple[str, int]] = {}
    for passage_id, title, paragraph, where in paragraphs_of(files[POOL_LANGUAGE]):
        text = _get(paragraph, "context", str, where)
        text = check_text(text, f"{where}.context")
        try:
            passages.append(
                check_passage(
                    Passage(passage_id, text, title if titles else "", lang=POOL_LANGUAGE)
                )
            )
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        sentences[passage_id] = _sentences(paragraph, where)
        for position, (place, upstream_id, _) in enumerate(questions_of(paragraph, where)):
            if upstream_id in placed:
                raise _twice(place, upstream_id)
            placed[upstream_id] = passage_id, position
    questions = [
        question
        for language, path in files.items()
        for question in _questions(path, language, placed, {passage.id for passage in passages})
    ]
    if not questions:
        raise InputError(f"{folder}: no questions in any of {', '.join(sorted(files))}")
    return XquadR(tuple(passages), sentences, tuple(questions))


def files_of(folder: Path) -> dict[str, Path]:
    """The file of each language in a folder.

    Raises:
        InputError: two files are of one language, or a name is of none.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.glob("*.json")):
        if not (match := _FILE.fullmatch(path.name)):
            continue
        try:
            language = normalize_language(match[1])
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        if language in files:
            raise InputError(f"{path}: {files[language].name} is {language!r} too: keep one")
        files[language] = path
    return files


def _questions(
    path: Path, language: str, placed: Mapping[str, tuple[str, int]], pool: set[str]
) -> Iterator[PlacedQuestion]:
    seen: set[str] = set()
    paragraphs = list(paragraphs_of(path))
    moved, unknown = len(paragraphs) != len(pool), ""
    for passage_id, _, paragraph, where in paragraphs:
        for number, (place, upstream_id, text) in enumerate(questions_of(paragraph, where)):
            if upstream_id in seen:
                raise _twice(place, upstream_id)
            seen.add(upstream_id)
            # The English file says where a question stands; for those that it does not have, the
            # place in this file does, as long as its paragraphs are in the English order.
            answer, position = placed.get(upstream_id, (passage_id, number))
            if upstream_id not in placed:
                unknown = unknown or f"{place}: question {upstream_id!r}"
            elif answer != passage_id:
                moved = True
            if unknown and (moved or answer not in pool):
                raise InputError(
                    f"{unknown} is not in {POOL_LANGUAGE}.json, and the paragraphs of this file "
                    "are others or in another order: nothing says which paragraph answers it"
                )
            try:
                question = check_question(Question(f"{language}:{upstream_id}", language, text))
            except InputError as error:
                raise InputError(f"{place}: {error}") from None
            yield PlacedQuestion(question, answer, position)


def paragraphs_of(path: Path) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Passage id, article title, paragraph and place of all paragraphs of a file.

    Raises:
        InputError: the file is malformed; it names the place.
    """
    data = _get(read_json_object(path), "data", list, str(path))
    for a, article in enumerate(data):
        where = f"{path}: data[{a}]"
        if not isinstance(article, dict):
            raise InputError(f"{where}: expected an object")
        title = article.get("title") or ""
        if not isinstance(title, str):
            raise InputError(f"{where}: field 'title' must be a string")
        title = title.replace("_", " ")
        for p, paragraph in enumerate(_get(article, "paragraphs", list, where)):
            if not isinstance(paragraph, dict):
                raise InputError(f"{where}.paragraphs[{p}]: expected an object")
            yield f"{a}-{p}", title, paragraph, f"{where}.paragraphs[{p}]"


def questions_of(paragraph: Mapping[str, Any], where: str) -> Iterator[tuple[str, str, str]]:
    """Place, upstream id and text of a paragraph's questions; none is fine, it fills the pool."""
    for number, qas in enumerate(_get(paragraph, "qas", list, where) if "qas" in paragraph else ()):
        place = f"{where}.qas[{number}]"
        if not isinstance(qas, dict):
            raise InputError(f"{place}: expected an object")
        yield place, _get(qas, "id", str, place), _get(qas, "question", str, place)


def _sentences(paragraph: Mapping[str, Any], where: str) -> tuple[str, ...]:
    texts = paragraph.get("sentences") or ()
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{where}: field 'sentences' must be a list of strings")
    return tuple(text.strip() for text in texts if text.strip())


def _twice(place: str, upstream_id: str) -> InputError:
    return InputError(f"{place}: question {upstream_id!r} comes twice in this file")


def _get(row: Mapping[str, Any], field: str, kind: type[Any], where: str) -> Any:
    value = row.get(field)
    if not isinstance(value, kind):
        raise InputError(
            f"{where}: field {field!r} must be a {kind.__name__}, not {type(value).__name__}"
        )
    return value
