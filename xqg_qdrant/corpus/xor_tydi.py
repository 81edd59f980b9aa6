"""XOR-TyDi's files: questions with answers, the corpus, and predictions.

Asai et al., "XOR QA: Cross-lingual Open-Retrieval Question Answering", NAACL 2021,
https://nlp.cs.washington.edu/xorqa/. The corpus is a TSV of passages as in Karpukhin et al.'s DPR
(``psgs_w100.tsv``), or the published augmented set, which holds passages and queries alike.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from xqg_qdrant.corpus.checks import check_id, check_passage, check_question
from xqg_qdrant.corpus.jsonl import (
    MAX_LINE_BYTES,
    Source,
    decode_line,
    read_json_array,
    read_lines,
    read_rows,
)
from xqg_qdrant.corpus.published import read_published, read_published_passages
from xqg_qdrant.corpus.writing import replacing
from xqg_qdrant.errors import InputError
from xqg_qdrant.records import (
    AnsweredQuestion,
    GeneratedQuery,
    Passage,
    Prediction,
    Question,
)

_COLUMNS = ["id", "text", "title"]
_RANKING = ("question", "passage", "score")
_PUBLISHED_ENDINGS = (".jsonl", ".parquet", ".pq")


def read_answered_questions(source: Source) -> list[AnsweredQuestion]:
    """Read questions: ``{"id", "question", "lang", "answers"}`` a line, and more fields.

    Raises:
        InputError: the file cannot be read, a line is no such question, an id comes twice, or
            there are no questions; it names file and line.
    """

    def build(row: dict[str, Any]) -> AnsweredQuestion:
        for field in ("id", "question", "lang", "answers"):
            if row.get(field) is None:
                raise InputError(
                    f"no field {field!r}: questions of XOR-TyDi have id, question, lang and "
                    "answers (those of its test set have no answers, and cannot be scored here)"
                )
        answers = row["answers"]
        if not isinstance(answers, list) or not all(isinstance(each, str) for each in answers):
            raise InputError("'answers' must be a list of strings")
        question = Question(check_id(row["id"], "id"), row["lang"], row["question"])
        return AnsweredQuestion(check_question(question), tuple(answers))

    questions: dict[str, AnsweredQuestion] = {}
    for where, each in read_rows(source, build):
        if each.question.id in questions:
            raise InputError(f"{where}: question {each.question.id!r} comes twice")
        questions[each.question.id] = each
    if not questions:
        raise InputError(f"{source}: there are no questions")
    return list(questions.values())


def read_passages_tsv(source: Source) -> Iterator[tuple[str, Passage]]:
    """Stream passages: ``id TAB text TAB title`` a line, quoted as DPR's are; a header is skipped.

    Yields:
        Where each stands and the passage.

    Raises:
        InputError: the file cannot be read or a line is no passage; it names file and line.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    for number, (where, line) in enumerate(read_lines(source)):
        fields = _columns(decode_line(line, where), where)
        if number == 0 and fields == _COLUMNS:
            continue
        if len(fields) not in (2, 3):
            raise InputError(f"{where}: {len(fields)} columns; passages are id, text and title")
        title = fields[2] if len(fields) == 3 else ""
        try:
            yield where, check_passage(Passage(check_id(fields[0], "id"), fields[1], title))
        except InputError as error:
            raise InputError(f"{where}: {error}") from None


def _columns(text: str, where: str) -> list[str]:
    """The columns of a line; a quote that does not end would swallow columns."""
    try:
        return next(csv.reader([text], delimiter="\t", strict=True))
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            raise InputError(
                f"{where}: a quote is not closed: passages stand on one line"
            ) from None
    try:
        return next(csv.reader([text], delimiter="\t"))
    except csv.Error as error:
        raise InputError(f"{where}: {error}") from None


class XorCorpus:
    """A corpus of passages, streamed anew each time it is gone through.

    Args:
        path: TSV by its ending (``.tsv``, ``.tsv.gz``), else the published augmented set: a file,
            or a folder of its shards.
        limit: the first so many passages; all when None.

    Attributes:
        files: of the corpus, in their order: ``shard_2`` is before ``shard_10``.
        is_published: whether the passages have queries with them.

    Raises:
        InputError: it is a folder without files of the published set.
    """

    def __init__(self, path: Path, *, limit: int | None = None) -> None:
        self.files = _files_of(path)
        self._path = path
        self.is_published = not {".tsv", ".txt"} & set(self.files[0].suffixes)
        self._limit = limit

    def __iter__(self) -> Iterator[Passage]:
        read = read_published_passages if self.is_published else read_passages_tsv
        rows = (passage for file in self.files for _, passage in read(file))
        return islice(rows, self._limit)

    def whole(self) -> XorCorpus:
        """The same without a limit."""
        return XorCorpus(self._path)

    def queries(self, *, first: int | None = None) -> PublishedQueriesOf | None:
        """The queries that the published set has for its passages; None of a TSV.

        Args:
            first: so many of each passage and language; all when None.
        """
        if not self.is_published:
            return None
        return PublishedQueriesOf(*self.files, limit=self._limit, first=first)


class PublishedQueriesOf:
    """The queries of a published augmented set, streamed anew each time.

    Args:
        files: of the set.
        limit: those of the first so many passages; of all when None.
        first: so many of each passage and language; all when None.
    """

    def __init__(self, *files: Path, limit: int | None = None, first: int | None = None) -> None:
        self._files = files
        self._limit = limit
        self._first = first

    def __iter__(self) -> Iterator[GeneratedQuery]:
        rows = (row for file in self._files for _, row in read_published(file))
        for row in islice(rows, self._limit):
            for language, texts in row.queries.items():
                for text in texts[: self._first]:
                    if text.strip():
                        yield GeneratedQuery(row.passage_id, language, text)


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = [
        file
        for file in path.rglob("*")
        if file.name.removesuffix(".gz").endswith(_PUBLISHED_ENDINGS)
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    if not found:
        raise InputError(
            f"{path}: no files of the published set there: {', '.join(_PUBLISHED_ENDINGS)}"
        )
    return sorted(found, key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Numbers in names by their value."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", str(path))
        if part
    ]


def read_predictions(path: Path) -> list[Prediction]:
    """Read predictions in the official format: ``[{"id", "lang", "ctxs": [text, …]}, …]``.

    Raises:
        InputError: the file cannot be read or is something else; it names the place.
    """
    predictions = []
    for number, row in enumerate(read_json_array(path)):
        where = f"{path}: [{number}]"
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected an object, found {type(row).__name__}")
        for field, kind in (("id", str | int), ("lang", str), ("ctxs", list)):
            if not isinstance(row.get(field), kind):
                raise InputError(
                    f"{where}: field {field!r} is missing or malformed: a prediction has id, lang, "
                    "and ctxs, a list of texts"
                )
        if not all(isinstance(text, str) for text in row["ctxs"]):
            raise InputError(f"{where}: field 'ctxs' must be a list of strings")
        name = check_id(row["id"], f"{where}: id")
        predictions.append(Prediction(name, row["lang"], tuple(row["ctxs"])))
    return predictions


def read_ranking(path: Path, *, depth: int) -> dict[str, list[str]]:
    """Read a run of Tevatron's retriever: ``question TAB passage TAB score`` a line, best first.

    Args:
        path: the file.
        depth: passages a question that are kept.

    Returns:
        The ids of passages of each question id.

    Raises:
        InputError: the file cannot be read, or a line is something else; it names file and line.
    """
    ranked: dict[str, list[str]] = {}
    for where, line in read_lines(path):
        fields = decode_line(line, where).strip("\r\n").split("\t")
        if len(fields) != len(_RANKING):
            raise InputError(f"{where}: {len(fields)} columns; runs have {', '.join(_RANKING)}")
        found = ranked.setdefault(check_id(fields[0], "question"), [])
        if len(found) < depth:
            found.append(check_id(fields[1], "passage"))
    if not ranked:
        raise InputError(f"{path}: there is nothing ranked: the file is empty")
    return ranked


def texts_of(corpus: Iterable[Passage], ids: Collection[str]) -> dict[str, str]:
    """The texts of these passages, in one pass over a corpus.

    Raises:
        InputError: the corpus does not have them all.
    """
    wanted = set(ids)
    texts = {passage.id: passage.text for passage in corpus if passage.id in wanted}
    if lost := sorted(wanted - texts.keys()):
        raise InputError(
            f"{len(lost):,} of {len(wanted):,} ranked passages are not in the corpus, such as "
            f"{lost[0]!r}: it is another corpus, or not whole"
        )
    return texts


def writing_predictions(path: Path, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
    """Write predictions in the official format while they pass by; whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    with replacing(path) as stream:
        separator = "["
        for each in predictions:
            row = {"id": each.question_id, "lang": each.lang, "ctxs": list(each.texts)}
            stream.write(f"{separator}\n{json.dumps(row, ensure_ascii=False)}")
            separator = ","
            yield each
        stream.write("[]\n" if separator == "[" else "\n]\n")
