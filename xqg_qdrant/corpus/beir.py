"""Data sets in BEIR's layout: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/SPLIT.tsv``.

Thakur et al., "BEIR: A Heterogenous Benchmark for Zero-shot Evaluation of Information Retrieval
Models", NeurIPS 2021, https://github.com/beir-cellar/beir.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xqg_qdrant.corpus.checks import check_id, check_passage, check_question
from xqg_qdrant.corpus.jsonl import read_rows
from xqg_qdrant.corpus.trec import read_qrels
from xqg_qdrant.errors import InputError
from xqg_qdrant.records import Passage, Qrel, Question


class BeirCorpus:
    """The documents of a ``corpus.jsonl``, streamed anew each time it is gone through.

    Attributes:
        count: passages that the last pass yielded.
        skipped: documents without any text that it left out.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.count = 0
        self.skipped = 0

    def __iter__(self) -> Iterator[Passage]:
        self.count = self.skipped = 0
        for _, passage in read_rows(self._path, _passage):
            if passage is None:
                self.skipped += 1
                continue
            self.count += 1
            yield passage


@dataclass(frozen=True, slots=True)
class Beir:
    """A data set.

    Attributes:
        passages: the whole corpus, streamed.
        questions: those that are judged.
        qrels: the judgements of the split.
    """

    passages: BeirCorpus
    questions: tuple[Question, ...]
    qrels: tuple[Qrel, ...]


def open_beir(folder: Path, *, split: str = "test", lang: str = "en") -> Beir:
    """Read the queries and judgements of a data set, and make its corpus ready for streaming.

    Args:
        folder: holds the files; each may be gzipped (``.gz``).
        split: whose judgements are taken.
        lang: language of the queries that have none in a field ``lang`` or ``language``, or in
            their metadata.

    Raises:
        InputError: a file is missing or malformed, or a judged query is not there; it names file
            and line.
    """
    corpus = _file(folder, "corpus.jsonl")
    queries = _file(folder, "queries.jsonl")
    try:
        judgements = _file(folder / "qrels", f"{split}.tsv")
    except InputError as error:
        found = sorted(path.name.split(".")[0] for path in folder.glob("qrels/*.tsv*"))
        raise InputError(f"{error}; splits found: {', '.join(found) or 'none'}") from None
    qrels = tuple(qrel for _, qrel in read_qrels(judgements))
    if not qrels:
        raise InputError(f"{judgements}: no judgements in it")

    def question(row: dict[str, Any]) -> Question:
        told = row.get("lang") or row.get("language")
        metadata = row.get("metadata")
        if not told and isinstance(metadata, dict):
            told = metadata.get("lang") or metadata.get("language")
        return check_question(Question(_id(row), told or lang, row.get("text") or ""))

    wanted = {qrel.question_id for qrel in qrels}
    questions: dict[str, Question] = {}
    for where, each in read_rows(queries, question, nan_is_null=True):
        if each.id in questions:
            raise InputError(f"{where}: query {each.id!r} comes twice")
        if each.id in wanted:
            questions[each.id] = each
    if missing := sorted(wanted - questions.keys()):
        raise InputError(
            f"{judgements}: judges query {missing[0]!r}, which is not in {queries} "
            f"({len(missing):,} such)"
        )
    return Beir(BeirCorpus(corpus), tuple(questions.values()), qrels)


def _file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise InputError(f"{folder / name}: no such file: give a folder in BEIR's layout")


def _passage(row: dict[str, Any]) -> Passage | None:
    """The passage of a document; the title is its text where that is all it has."""
    name = _id(row)
    title, text = (row.get(field) for field in ("title", "text"))
    for field, value in (("title", title), ("text", text)):
        if value is not None and not isinstance(value, str):
            raise InputError(f"{field!r} must be a string, not {type(value).__name__}")
    title, text = (title or "").strip(), (text or "").strip()
    if not text:
        title, text = "", title
    if not text:
        return None
    return check_passage(Passage(name, text, title))


def _id(row: dict[str, Any]) -> str:
    if "_id" not in row:
        raise InputError("no field '_id': this is no file of BEIR's")
    return check_id(row["_id"], "_id")
