"""TREC's files: runs, qrels and topics, for other tools' systems and for other tools.

Runs and qrels as ``trec_eval`` reads them, https://github.com/usnistgov/trec_eval; qrels in the
TSV of BEIR too. Order within a run is by score, as there: the column of ranks is not looked at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from xqg_qdrant.corpus.checks import check_id, check_question
from xqg_qdrant.corpus.jsonl import Source, decode_line, name_of, read_lines
from xqg_qdrant.corpus.writing import replacing
from xqg_qdrant.errors import InputError
from xqg_qdrant.records import Qrel, Question, ScoredPassage

# As other tools write and read them: Python itself takes 1_000 and other scripts' digits, too.
_WHOLE = re.compile(r"[+-]?[0-9]{1,9}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

_HEADERS = ("score", "relevance", "rel", "label", "grade", "judgement", "judgment")

_QRELS_FORMS = "'question 0 passage relevance' (TREC) or 'question TAB passage TAB score' (BEIR)"


class Scored(Protocol):
    """A passage's id and score: a hit, or a line of a run."""

    @property
    def id(self) -> str:
        """The passage's own identifier."""

    @property
    def score(self) -> float:
        """Higher is better."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run file.

    Attributes:
        name: the tag in its last column, of its first line.
        ranked: for each question id its passages, best first, in ``trec_eval``'s order: by
            score, and by id from the last to the first where scores are the same.
    """

    name: str
    ranked: Mapping[str, tuple[ScoredPassage, ...]]


def read_run(source: Source) -> Run:
    """Read a run: ``question Q0 passage rank score tag`` a line.

    Raises:
        InputError: the file cannot be read, a line is not of a run, or a passage comes twice for
            a question; it names file and line.
    """
    name = ""
    found: dict[str, dict[str, float]] = {}
    for where, fields in _fields(source):
        if len(fields) != 6:
            raise InputError(
                f"{where}: {len(fields)} columns; a run has six: question Q0 passage rank score tag"
            )
        question, _, passage, _, text, tag = fields
        _check_ids(question, passage, where)
        try:
            score = float(text) if _NUMBER.fullmatch(text) else math.nan
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise InputError(f"{where}: the score is {text!r}: give a finite number")
        scores = found.setdefault(question, {})
        if passage in scores:
            raise InputError(f"{where}: passage {passage!r} comes twice for question {question!r}")
        scores[passage] = score
        name = name or tag
    if not found:
        raise InputError(
            f"{name_of(source)}: no lines; a run that found nothing cannot be measured"
        )
    ranked = {}
    for question, scores in found.items():
        ordered = sorted(scores.items(), key=lambda pair: (pair[1], pair[0]), reverse=True)
        ranked[question] = tuple(ScoredPassage(*pair) for pair in ordered)
    return Run(name, ranked)


def write_run(path: Path, run: Mapping[str, Sequence[Scored]], name: str) -> None:
    """Write a run in TREC's format, whole or not at all.

    Scores are as they are in float32; where two hits of a question have the same, the later one's
    is written a hair lower, so that every reader keeps the order.

    Raises:
        InputError: an id holds white space, which the format cannot, or the file cannot be
            written.
    """
    tag = "-".join(name.split()) or "run"
    with replacing(path) as stream:
        for question, hits in run.items():
            previous = np.float32(np.inf)
            for rank, hit in enumerate(hits, start=1):
                score = min(np.float32(hit.score), np.nextafter(previous, np.float32(-np.inf)))
                previous = score
                stream.write(
                    f"{_word(question)} Q0 {_word(hit.id)} {rank} {float(score)!r} {tag}\n"
                )


def read_qrels(source: Source) -> Iterator[tuple[str, Qrel]]:
    """Stream judgements, in TREC's format or in BEIR's, told apart by their columns.

    BEIR's header line (``query-id TAB corpus-id TAB score``) is skipped.

    Yields:
        Where each stands and the judgement. A relevance of 0 or less is not relevant.

    Raises:
        InputError: the file cannot be read, a line is no judgement, or a pair is judged twice; it
            names file and line.
    """
    seen: set[tuple[str, str]] = set()
    for number, (where, fields) in enumerate(_fields(source)):
        if len(fields) == 4:
            question, _, passage, text = fields
        elif len(fields) == 3:
            question, passage, text = fields
            if number == 0 and text.lower() in _HEADERS:
                continue
        else:
            raise InputError(f"{where}: {len(fields)} columns; qrels are {_QRELS_FORMS}")
        if not _is_int(text):
            raise InputError(
                f"{where}: the relevance is {text[:20]!r}: give a whole number of up to 9 digits"
            )
        _check_ids(question, passage, where)
        if (question, passage) in seen:
            raise InputError(f"{where}: {passage!r} is judged twice for question {question!r}")
        seen.add((question, passage))
        yield where, Qrel(question, passage, int(text))


def write_qrels(path: Path, qrels: Iterable[Qrel]) -> None:
    """Write judgements in TREC's format, whole or not at all.

    Raises:
        InputError: an id holds white space, or the file cannot be written.
    """
    with replacing(path) as stream:
        for qrel in qrels:
            question, passage = _word(qrel.question_id), _word(qrel.passage_id)
            stream.write(f"{question} 0 {passage} {qrel.relevance}\n")


def read_topics(source: Source, *, lang: str | None = None) -> Iterator[tuple[str, Question]]:
    """Stream topics: ``id TAB text`` or ``id TAB language TAB text`` a line.

    Args:
        source: the file.
        lang: the language of topics in two columns.

    Yields:
        Where each stands and the question.

    Raises:
        InputError: the file cannot be read, a line is no topic, an id comes twice, or nothing
            says what language a topic is in; it names file and line.
    """
    seen: set[str] = set()
    for where, line in read_lines(source):
        fields = decode_line(line, where).split("\t")
        if len(fields) == 2 and lang is None:
            raise InputError(
                f"{where}: nothing says what language this is in: write 'id TAB language TAB text'"
                ", or name the language of all"
            )
        if len(fields) not in (2, 3):
            raise InputError(
                f"{where}: {len(fields)} columns; topics are 'id TAB text' or "
                "'id TAB language TAB text'"
            )
        language = fields[1] if len(fields) == 3 else lang
        assert language is not None
        try:
            question = check_question(Question(check_id(fields[0], "id"), language, fields[-1]))
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if question.id in seen:
            raise InputError(f"{where}: topic {question.id!r} comes twice")
        seen.add(question.id)
        yield where, question


def _fields(source: Source) -> Iterator[tuple[str, list[str]]]:
    for where, line in read_lines(source):
        text = decode_line(line, where)
        # BEIR's ids may hold spaces, TREC's may not.
        fields = text.split("\t") if text.count("\t") in (2, 3, 5) else text.split()
        yield where, [field.strip() for field in fields]


def _word(text: str) -> str:
    if text.split() != [text]:
        raise InputError(f"id {text!r} holds white space or is empty: TREC's files cannot hold it")
    return text


def _check_ids(question: str, passage: str, where: str) -> None:
    try:
        check_id(question, "the question's id")
        check_id(passage, "the passage's id")
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _is_int(text: str) -> bool:
    return _WHOLE.fullmatch(text) is not None
