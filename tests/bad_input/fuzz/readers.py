"""The readers of files as targets, each with a valid file and what the oracle says of it."""

from __future__ import annotations

import csv
import gzip
import json
import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bad_input.fuzz import oracle
from tests.bad_input.fuzz.mutations import dump, dump_lines, spoil_bytes, spoil_json
from tests.bad_input.fuzz.oracle import (
    Bad,
    Each,
    Object,
    anything,
    conform,
    conforming_lines,
    decode,
    ident,
    lang,
    metadata,
    number,
    optional,
    passage_text,
    query_text,
    string,
    title,
    whole,
)
from xqg_qdrant import GeneratedQuery, Passage
from xqg_qdrant.corpus.afriqa import read_afriqa
from xqg_qdrant.corpus.beir import open_beir
from xqg_qdrant.corpus.jsonl import read_passages, read_queries, read_questions
from xqg_qdrant.corpus.mkqa import read_mkqa
from xqg_qdrant.corpus.published import read_published, read_published_passages
from xqg_qdrant.corpus.staging import Staging
from xqg_qdrant.corpus.trec import read_qrels, read_run, read_topics
from xqg_qdrant.corpus.xor_tydi import (
    read_answered_questions,
    read_passages_tsv,
    read_predictions,
)
from xqg_qdrant.corpus.xquad_r import read_xquad_r
from xqg_qdrant.corpus.xquad_r_sentences import read_xquad_r_sentences
from xqg_qdrant.queries.journal import read_journal
from xqg_qdrant.queries.side_file import read_side_file
from xqg_qdrant.records import AnsweredQuestion, Prediction, Qrel, Question, ScoredPassage


@dataclass(frozen=True)
class Target:
    """Something that reads a file.

    Attributes:
        name: of the target.
        file: name of the file that is spoilt.
        make: a spoilt file's bytes.
        read: reads it, given the folder, and returns the records made.
        check: the oracle; raises Bad.
        prepare: writes the other files, once.
        risky: native code reads it, so it runs in a process of its own.
    """

    name: str
    file: str
    make: Callable[[random.Random], bytes]
    read: Callable[[Path], Iterable[Any]]
    check: Callable[[bytes], object]
    prepare: Callable[[Path], object] = lambda folder: None
    risky: bool = False


def json_or_bytes(value: Any, write: Callable[[Any], bytes]) -> Callable[[random.Random], bytes]:
    """Half of the files are spoilt as values, half as bytes."""

    def make(rng: random.Random) -> bytes:
        return (
            write(spoil_json(value, rng)) if rng.random() < 0.6 else spoil_bytes(write(value), rng)
        )

    return make


def bytes_only(data: bytes) -> Callable[[random.Random], bytes]:
    return lambda rng: spoil_bytes(data, rng)


def records_are_good(records: Iterable[Any]) -> None:
    """Check what a reader made, field by field.

    Raises:
        Bad: a record is none.
    """
    for each in records:
        if isinstance(each, Passage):
            good = (
                isinstance(each.id, str)
                and ident(each.id)
                and passage_text(each.text)
                and title(each.title)
                and (each.lang is None or lang(each.lang))
                and oracle.plain_json(dict(each.metadata))
            )
        elif isinstance(each, GeneratedQuery):
            good = ident(each.passage_id) and lang(each.lang) and query_text(each.text)
            good = good and (
                each.score is None or (type(each.score) is float and number(each.score))
            )
        elif isinstance(each, Question):
            good = isinstance(each.id, str) and ident(each.id) and lang(each.lang)
            good = good and query_text(each.text)
        elif isinstance(each, Qrel):
            good = ident(each.question_id) and ident(each.passage_id)
            good = good and type(each.relevance) is int and abs(each.relevance) < 10**9
        elif isinstance(each, ScoredPassage):
            good = ident(each.id) and type(each.score) is float and number(each.score)
        elif isinstance(each, AnsweredQuestion):
            records_are_good([each.question])
            good = all(isinstance(answer, str) for answer in each.answers)
        elif isinstance(each, Prediction):
            good = ident(each.question_id) and all(isinstance(part, str) for part in each.texts)
        else:
            good = each is not None
        if not good:
            raise Bad(f"a record is {str(each)[:80]!r}")


_PASSAGES = [
    {"id": "a", "text": "The Nile flows north.", "title": "Nile", "lang": "en"},
    {"id": 7, "text": "A text.", "metadata": {"year": 1900, "tags": ["x", {"y": None}], "z": 0.5}},
    {"id": "c", "text": "Ein Text über Flüsse.", "lang": "de", "title": None, "metadata": None},
]
_QUERIES = [
    {"passage_id": "a", "lang": "sw", "text": "Mto gani?", "score": 0.5},
    {"passage_id": 7, "lang": "zh-Hant", "text": "什麼？"},
]
_QUESTIONS = [{"id": "q1", "passage_id": "a", "lang": "sw", "text": "Mto gani?"}]

PASSAGE = Object(
    {
        "id": ident,
        "text": passage_text,
        "title": title,
        "lang": optional(lang),
        "metadata": metadata,
    },
    closed=True,
)
QUERY = Object(
    {"passage_id": ident, "lang": lang, "text": query_text, "score": optional(number)}, closed=True
)
QUESTION = Object({"id": ident, "passage_id": ident, "lang": lang, "text": query_text}, closed=True)


def _staged(folder: Path) -> list[Any]:
    """Passages and queries, checked together as an ingest does."""
    with Staging() as staging:
        staging.add_passages(read_passages(folder / "p.jsonl"))
        staging.add_queries(read_queries(folder / "q.jsonl"))
        return [
            record
            for batch in staging.batches(10)
            for each in batch
            for record in (each.passage, *each.queries)
        ]


def _check_ids(data: bytes) -> None:
    rows = conforming_lines(data, PASSAGE)
    known: dict[str, str] = {}
    for row in rows:
        row = {name: value for name, value in row.items() if value is not None}
        row["title"] = row.get("title") or ""
        row["metadata"] = row.get("metadata") or {}
        row["lang"] = str(row.get("lang"))[:2]
        content = json.dumps({**row, "id": 0}, sort_keys=True)
        if known.setdefault(str(row["id"]), content) != content:
            raise Bad("an id twice")


_BEIR = {
    "corpus.jsonl": [
        {"_id": "d1", "title": "T", "text": "Some text."},
        {"_id": 2, "text": "More."},
    ],
    "queries.jsonl": [{"_id": "q1", "text": "what?"}, {"_id": "q2", "text": "who?", "lang": "sw"}],
}
_BEIR_QRELS = b"query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\t2\t2\n"


def _write_beir(folder: Path) -> None:
    (folder / "qrels").mkdir(parents=True)
    for name, rows in _BEIR.items():
        (folder / name).write_bytes(dump_lines(rows))
    (folder / "qrels" / "test.tsv").write_bytes(_BEIR_QRELS)


def _read_beir(folder: Path) -> list[Any]:
    data = open_beir(folder)
    return [*data.passages, *data.questions, *data.qrels]


def _columns(data: bytes) -> list[list[str]]:
    rows = []
    for line in oracle.lines(data):
        fields = line.split("\t") if line.count("\t") in (2, 3, 5) else line.split()
        rows.append([field.strip() for field in fields])
    return rows


def _check_qrels(data: bytes) -> None:
    seen = set()
    for place, fields in enumerate(_columns(data)):
        if len(fields) == 3 and place == 0 and not re.search(r"\d", fields[2]):
            # Only words that head a column are a header.
            if fields[2].lower() not in ("score", "relevance", "rel", "label", "grade"):
                raise Bad("no header")
            continue
        if len(fields) not in (3, 4):
            raise Bad("columns")
        pair = (fields[0], fields[-2])
        if not re.fullmatch(r"[+-]?[0-9]{1,9}", fields[-1]) or pair in seen:
            raise Bad("relevance, or twice")
        if not all(ident(each) for each in pair):
            raise Bad("id")
        seen.add(pair)


def _check_run(data: bytes) -> None:
    rows = _columns(data)
    seen = set()
    for fields in rows:
        if len(fields) != 6 or not all(ident(each) for each in (fields[0], fields[2])):
            raise Bad("columns")
        score = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", fields[4], re.ASCII)
        if not score or abs(float(fields[4])) == float("inf") or (fields[0], fields[2]) in seen:
            raise Bad("score, or twice")
        seen.add((fields[0], fields[2]))
    if not rows:
        raise Bad("nothing in it")


def _check_topics(data: bytes) -> None:
    seen = set()
    for line in oracle.lines(data):
        fields = line.split("\t")
        if len(fields) not in (2, 3) or not ident(fields[0]) or not query_text(fields[-1]):
            raise Bad("columns")
        if (len(fields) == 3 and not lang(fields[1])) or fields[0] in seen:
            raise Bad("language, or twice")
        seen.add(fields[0])


def _check_tsv(data: bytes) -> None:
    for place, line in enumerate(oracle.lines(data)):
        try:
            fields = next(csv.reader([line], delimiter="\t"))
        except (csv.Error, StopIteration) as error:
            raise Bad(str(error)) from None
        if place == 0 and fields == ["id", "text", "title"]:
            continue
        if len(fields) not in (2, 3) or not ident(fields[0]) or not passage_text(fields[1]):
            raise Bad("columns")
        if len(fields) == 3 and not title(fields[2]):
            raise Bad("title")


_XOR = [{"id": "1", "question": "Mto?", "lang": "ja", "answers": ["x"], "split": "dev"}]
XOR = Object({"id": ident, "question": query_text, "lang": lang, "answers": [string]})
_PREDICTIONS = [
    {"id": "1", "lang": "ja", "ctxs": ["one", "two"]},
    {"id": 2, "lang": "x", "ctxs": []},
]
PREDICTIONS = [Object({"id": ident, "lang": string, "ctxs": [string]})]
_MKQA = [
    {
        "example_id": 5,
        "queries": {"en": "who?", "zh_cn": "谁？"},
        "answers": {"en": [{"type": "entity", "text": "me", "aliases": ["I"]}]},
    }
]
MKQA = Object(
    {
        "example_id": ident,
        "queries": Each(lang, query_text),
        "answers": Object({"en": [Object({"type": anything})]}),  # others are no texts
    }
)
_AFRIQA = [
    {"context": "A context.", "question_lang": "Mto?", "title": "T", "id": 0},
    {"context": "Another.", "question_lang": "Nani?", "title": None},
]
_AFRIQA_FILE = "swa/gold_span_passages.afriqa.swa.en.test.json"
AFRIQA = Object(
    {
        "context": lambda value: value is None or isinstance(value, str),
        "question_lang": lambda value: value is None or isinstance(value, str),
        "title": optional(string),
    }
)


def _paragraph(context: str, question: str, **more: Any) -> dict[str, Any]:
    answer = {"answer_start": 0, "text": context[:3]}
    return {
        "context": context,
        "qas": [{"id": "u1", "question": question, "answers": [answer]}],
        **more,
    }


_XQUAD = {
    "data": [
        {
            "title": "An_Article",
            "paragraphs": [
                _paragraph(
                    "It flows. It ends.",
                    "Where?",
                    sentences=["It flows.", "It ends."],
                    sentence_breaks=[[0, 9], [10, 18]],
                )
            ],
        }
    ]
}
XQUAD = Object(
    {
        "data": [
            Object(
                {
                    "title": lambda value: (
                        oracle.MISSING is value
                        or not value
                        or (isinstance(value, str) and title(value))
                    ),
                    "paragraphs": [Object({"context": passage_text})],
                }
            )
        ]
    }
)

_PUBLISHED = [
    {
        "docid": "a",
        "title": "T",
        "text": "x",
        "generated_queries": {"ar": ["أ"], "ja": ["何", "誰"]},
    },
    {"docid": "b", "title": "", "text": "y", "generated_queries": {"ar": []}},
]
PUBLISHED = Object(
    {
        "docid": ident,
        "generated_queries": Each(lang, lambda v: v is None or isinstance(v, list)),
    }
)
PUBLISHED_PASSAGE = Object({"docid": ident, "text": passage_text, "title": optional(anything)})
_JOURNAL = {
    "schema_version": 1,
    "configuration": {"kind": "model"},
    "total": 5,
    "done": 2,
    "length": 100,
    "passages": "0" * 64,
    "complete": False,
    "tally": {
        "queries": {"sw": 4},
        "empty": 0,
        "duplicates": 1,
        "replaced": 0,
        "missing": {},
        "other": {},
    },
}
_COUNT = whole(0, 2**53)
_COUNTS = Each(string, _COUNT)
JOURNAL = Object(
    {
        "schema_version": lambda value: value == 1 and value is not True,
        "configuration": Each(string, anything),
        "total": _COUNT,
        "done": _COUNT,
        "length": _COUNT,
        "passages": string,
        "complete": anything,
        "tally": Object(
            {
                "queries": _COUNTS,
                "empty": _COUNT,
                "duplicates": _COUNT,
                "replaced": _COUNT,
                "missing": _COUNTS,
                "other": _COUNTS,
            }
        ),
    }
)


def _check_value(schema: Any) -> Callable[[bytes], None]:
    return lambda data: conform(oracle.parse(decode(data)), schema)


def _check_lines(schema: Any, **options: Any) -> Callable[[bytes], object]:
    return lambda data: conforming_lines(data, schema, **options)


def _write_queries(folder: Path) -> None:
    (folder / "q.jsonl").write_bytes(b"")


def _write_passages(folder: Path) -> None:
    (folder / "p.jsonl").write_bytes(dump_lines(_PASSAGES))


def _published_texts(folder: Path, file: str) -> list[Any]:
    rows = [row for _, row in read_published(folder / file)]
    for row in rows:
        good = ident(row.passage_id) and all(map(lang, row.queries))
        if not good or not all(isinstance(t, str) for each in row.queries.values() for t in each):
            raise Bad(f"a record is {row}")
    return rows


def _seconds(pairs: Iterable[tuple[str, Any]]) -> list[Any]:
    return [record for _, record in pairs]


TARGETS = [
    Target(
        "passages",
        "p.jsonl",
        json_or_bytes(_PASSAGES, dump_lines),
        _staged,
        _check_ids,
        _write_queries,
    ),
    Target(
        "passages, packed",
        "p.jsonl.gz",
        bytes_only(gzip.compress(dump_lines(_PASSAGES * 3), mtime=0)),
        lambda folder: _seconds(read_passages(folder / "p.jsonl.gz")),
        lambda data: [
            conform(oracle.parse(line), PASSAGE) for line in oracle.lines(oracle.gunzip(data))
        ],
    ),
    Target(
        "queries",
        "q.jsonl",
        json_or_bytes(_QUERIES, dump_lines),
        _staged,
        _check_lines(QUERY),
        _write_passages,
    ),
    Target(
        "questions",
        "t.jsonl",
        json_or_bytes(_QUESTIONS, dump_lines),
        lambda folder: [
            each for pair in _seconds(read_questions(folder / "t.jsonl")) for each in pair
        ],
        _check_lines(QUESTION, empty=True),
    ),
    Target(
        "BEIR corpus",
        "corpus.jsonl",
        json_or_bytes(_BEIR["corpus.jsonl"], dump_lines),
        _read_beir,
        _check_lines(Object({"_id": ident, "title": title, "text": optional(string)}), empty=True),
        _write_beir,
    ),
    Target(
        "BEIR queries",
        "queries.jsonl",
        json_or_bytes(_BEIR["queries.jsonl"], dump_lines),
        _read_beir,
        _check_lines(Object({"_id": ident, "text": query_text}), nan=True),
        _write_beir,
    ),
    Target(
        "BEIR qrels",
        "qrels/test.tsv",
        bytes_only(_BEIR_QRELS),
        _read_beir,
        _check_qrels,
        _write_beir,
    ),
    Target(
        "TREC qrels",
        "qrels.txt",
        bytes_only(b"q1 0 d1 1\nq1 0 d2 0\nq2 0 d1 3\n"),
        lambda folder: _seconds(read_qrels(folder / "qrels.txt")),
        _check_qrels,
    ),
    Target(
        "TREC run",
        "run.txt",
        bytes_only(b"q1 Q0 d1 1 1.5 tag\nq1 Q0 d2 2 0.25e-1 tag\n"),
        lambda folder: [
            hit for hits in read_run(folder / "run.txt").ranked.values() for hit in hits
        ],
        _check_run,
    ),
    Target(
        "TREC topics",
        "topics.tsv",
        bytes_only("q1\tsw\tMto gani?\nq2\tja\t何？\n".encode()),
        lambda folder: _seconds(read_topics(folder / "topics.tsv", lang="en")),
        _check_topics,
    ),
    Target(
        "XOR-TyDi questions",
        "xor.jsonl",
        json_or_bytes(_XOR, dump_lines),
        lambda folder: read_answered_questions(folder / "xor.jsonl"),
        _check_lines(XOR),
    ),
    Target(
        "XOR-TyDi passages",
        "psgs.tsv",
        bytes_only(b'id\ttext\ttitle\n1\t"A ""quoted"" text."\tOne\n2\tPlain.\tTwo\n'),
        lambda folder: _seconds(read_passages_tsv(folder / "psgs.tsv")),
        _check_tsv,
    ),
    Target(
        "XOR-TyDi predictions",
        "predictions.json",
        json_or_bytes(_PREDICTIONS, dump),
        lambda folder: read_predictions(folder / "predictions.json"),
        _check_value(PREDICTIONS),
    ),
    Target(
        "MKQA",
        "mkqa.jsonl",
        json_or_bytes(_MKQA, dump_lines),
        lambda folder: read_mkqa(folder / "mkqa.jsonl"),
        _check_lines(MKQA),
    ),
    Target(
        "AfriQA",
        _AFRIQA_FILE,
        json_or_bytes(_AFRIQA, dump_lines),
        lambda folder: [
            record
            for data in [read_afriqa(folder, titles=True)]
            for record in (*data.passages, *(asked.question for asked in data.questions))
        ],
        _check_lines(AFRIQA, nan=True),
        lambda folder: (folder / "swa").mkdir(),
    ),
    Target(
        "XQuAD-R",
        "en.json",
        json_or_bytes(_XQUAD, dump),
        lambda folder: [
            record
            for data in [read_xquad_r(folder, titles=True)]
            for record in (*data.passages, *(placed.question for placed in data.questions))
        ],
        _check_value(XQUAD),
    ),
    Target(
        "XQuAD-R sentences",
        "en.json",
        json_or_bytes(_XQUAD, dump),
        lambda folder: [
            Passage(each.id, each.text, lang=each.lang)
            for each in read_xquad_r_sentences(folder).sentences
        ],
        _check_value(Object({"data": [Object({"paragraphs": [Object({})]})]})),
    ),
    Target(
        "published queries",
        "published.jsonl",
        json_or_bytes(_PUBLISHED, dump_lines),
        lambda folder: _published_texts(folder, "published.jsonl"),
        _check_lines(PUBLISHED, empty=True),
    ),
    Target(
        "published passages",
        "published.jsonl",
        json_or_bytes(_PUBLISHED, dump_lines),
        lambda folder: _seconds(read_published_passages(folder / "published.jsonl")),
        _check_lines(PUBLISHED_PASSAGE, empty=True),
    ),
    Target(
        "journal of generating",
        "out.journal",
        json_or_bytes(_JOURNAL, dump),
        lambda folder: [read_journal(folder / "out")],
        _check_value(JOURNAL),
    ),
    Target(
        "side file",
        "q.jsonl.meta.json",
        json_or_bytes({"schema_version": 1, "generator": "me", "more": {"a": [1]}}, dump),
        lambda folder: [read_side_file(folder / "q.jsonl")],
        _check_value(Object({"generator": string})),
        _write_queries,
    ),
]
