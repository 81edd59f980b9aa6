"""AfriQA's gold passages in their upstream layout: African questions, English passages.

``LANG/gold_span_passages.afriqa.LANG.en.SPLIT.json``, one JSON object a line. Ogundepo et al.,
"AfriQA: Cross-lingual Open-Retrieval Question Answering for African Languages", Findings of EMNLP
2023, https://github.com/masakhane-io/afriqa.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xqg_qdrant.corpus.checks import check_passage, check_question
from xqg_qdrant.corpus.jsonl import read_rows
from xqg_qdrant.errors import InputError
from xqg_qdrant.languages import normalize_language
from xqg_qdrant.records import Passage, Qrel, Question

POOL_LANGUAGE = "en"

_FILE = re.compile(r"gold_span_passages\.afriqa\.([a-z]{2,3})\.en\.(\w+)\.json")


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question and the passage that answers it.

    Attributes:
        question: its id is unique over all files (``LANG:SPLIT:LINE``).
        passage_id: its gold passage.
        split: ``train``, ``dev`` or ``test``.
    """

    question: Question
    passage_id: str
    split: str

    @property
    def qrel(self) -> Qrel:
        """The judgement."""
        return Qrel(self.question.id, self.passage_id)


@dataclass(frozen=True, slots=True)
class AfriQA:
    """The gold passages of every file found, and the questions of those that were asked for.

    Attributes:
        passages: the pool; passages of the same text are one.
        questions: those asked.
        skipped: rows of the files of those questions that have no passage or no question.
    """

    passages: tuple[Passage, ...]
    questions: tuple[AskedQuestion, ...]
    skipped: int

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages asked in, sorted."""
        return tuple(sorted({asked.question.lang for asked in self.questions}))


def read_afriqa(
    folder: Path,
    *,
    split: str | None = None,
    languages: tuple[str, ...] | None = None,
    titles: bool = False,
) -> AfriQA:
    """Read AfriQA's gold passages with English as the language of the passages.

    Args:
        folder: holds the files, in folders of any depth.
        split: whose questions are asked; of every split found when None.
        languages: whose questions are asked, ISO 639-1; of every language found when None.
            Neither changes the pool, which holds the passages of all files.
        titles: give passages the titles of their articles.

    Raises:
        InputError: there are no such files, a line is malformed, or no question is left; it names
            file and line.
    """
    files = sorted(path for path in folder.rglob("*.json") if _FILE.fullmatch(path.name))
    if not files:
        raise InputError(
            f"{folder}: no gold_span_passages.afriqa.LANG.en.SPLIT.json in it or below it: give "
            "the folder data/gold_passages of github.com/masakhane-io/afriqa"
        )
    pool: dict[str, Passage] = {}
    questions: list[AskedQuestion] = []
    skipped = 0
    for path in files:
        language, found_split = _told_by_name(path)
        asked = split in (None, found_split) and (languages is None or language in languages)
        for number, row in _rows(path):
            name = f"{language}:{found_split}:{number}"
            text, question = row["context"], row["question_lang"]
            if not text.strip() or not question.strip():
                skipped += asked
                continue
            title = row["title"] if titles else ""
            try:
                passage = check_passage(Passage(name, text, title, lang=POOL_LANGUAGE))
                checked = check_question(Question(name, language, question))
            except InputError as error:
                raise InputError(f"{path}, line {number}: {error}") from None
            passage = pool.setdefault(text, passage)
            if asked:
                questions.append(AskedQuestion(checked, passage.id, found_split))
    if not questions:
        wanted = [*(languages or ()), *([split] if split else [])]
        raise InputError(
            f"{folder}: no question {'of ' + ', '.join(wanted) if wanted else 'with a passage'} "
            f"in {len(files)} files: found are {', '.join(_names(files))}"
        )
    return AfriQA(tuple(pool.values()), tuple(questions), skipped)


def _told_by_name(path: Path) -> tuple[str, str]:
    match = _FILE.fullmatch(path.name)
    assert match is not None
    try:
        return normalize_language(match[1]), match[2]
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _names(files: list[Path]) -> list[str]:
    return sorted({" ".join(_told_by_name(path)) for path in files})


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each line's number and the fields read; null and NaN, as upstream has them, are empty."""

    def build(row: Mapping[str, Any]) -> dict[str, str]:
        fields = {}
        for name in ("context", "question_lang", "title"):
            value = row.get(name)
            if name not in row and name != "title":
                raise InputError(f"no field {name!r}: this is no file of AfriQA's gold passages")
            if value is not None and not isinstance(value, str):
                raise InputError(f"{name!r} must be a string, not {type(value).__name__}")
            fields[name] = value or ""
        return fields

    for where, row in read_rows(path, build, nan_is_null=True):
        yield int(where.rpartition(" ")[2]), row
