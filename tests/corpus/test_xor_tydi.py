from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xqg_qdrant.corpus.mkqa import read_mkqa
from xqg_qdrant.corpus.xor_tydi import (
    XorCorpus,
    read_answered_questions,
    read_passages_tsv,
    read_predictions,
    writing_predictions,
)
from xqg_qdrant.errors import InputError
from xqg_qdrant.records import AnsweredQuestion, GeneratedQuery, Passage, Prediction, Question

QUESTION = {"id": "7", "question": "首都?", "lang": "ja", "answers": ["Tokyo"], "split": "dev"}


def write_lines(path: Path, *rows: dict[str, Any]) -> Path:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def test_questions(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "dev.jsonl", QUESTION)
    assert read_answered_questions(path) == [
        AnsweredQuestion(Question("7", "ja", "首都?"), ("Tokyo",))
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": None}, "line 2: no field 'answers'.*test set"),
        ({"answers": "Tokyo"}, "line 2: 'answers' must be a list of strings"),
        ({"lang": "xx"}, "line 2: unknown language code"),
        ({"id": "7"}, "line 2: question '7' comes twice"),
    ],
)
def test_what_are_no_questions(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_lines(tmp_path / "dev.jsonl", QUESTION, {**QUESTION, "id": "8", **change})
    with pytest.raises(InputError, match=message):
        read_answered_questions(path)


def test_passages_quoted_as_dprs_are(tmp_path: Path) -> None:
    path = tmp_path / "psgs.tsv"
    path.write_text('id\ttext\ttitle\n1\t"""Aaron"" is a name."\tAaron\n2\tPlain.\t"""Q"""\n3\tx\n')
    assert [passage for _, passage in read_passages_tsv(path)] == [
        Passage("1", '"Aaron" is a name.', "Aaron"),
        Passage("2", "Plain.", '"Q"'),
        Passage("3", "x"),
    ]
    corpus = XorCorpus(path)
    assert len(list(corpus)) == len(list(corpus)) == 3
    assert corpus.queries() is None


@pytest.mark.parametrize(
    ("line", "message"),
    [("1", "line 2: 1 columns"), ("1\ta\tb\tc", "line 2: 4 columns"), ("1\t \t", "text is empty")],
)
def test_what_are_no_passages(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "psgs.tsv"
    path.write_text(f"id\ttext\ttitle\n{line}\n")
    with pytest.raises(InputError, match=message):
        list(read_passages_tsv(path))


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_the_published_set_has_passages_and_queries(tmp_path: Path, suffix: str) -> None:
    rows = [
        {"docid": "1", "title": "T", "text": "A.", "generated_queries": {"ja": ["何?", " "]}},
        {"docid": "2", "title": "", "text": "B.", "generated_queries": {"ja": [], "te": ["ఏ?"]}},
    ]
    path = tmp_path / f"augmented.{suffix}"
    if suffix == "jsonl":
        write_lines(path, *rows)
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    corpus = XorCorpus(path)
    assert list(corpus) == [Passage("1", "A.", "T"), Passage("2", "B.")]
    queries = corpus.queries()
    assert queries is not None
    for _ in range(2):
        assert list(queries) == [GeneratedQuery("1", "ja", "何?"), GeneratedQuery("2", "te", "ఏ?")]


def test_the_published_set_in_shards(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.md").write_text("x")
    (tmp_path / ".cache" / "shard_0.jsonl").write_text("half a downlo")
    for number in (10, 2, 0):
        row = {"docid": str(number), "title": "", "text": "A."}
        queries = {"ja": ["a", "b", "c"], "te": ["d"]}
        path = tmp_path / "data" / f"shard_{number}.jsonl"
        path.parent.mkdir(exist_ok=True)
        write_lines(path, {**row, "generated_queries": queries})
    corpus = XorCorpus(tmp_path)
    assert corpus.is_published
    assert [passage.id for passage in corpus] == ["0", "2", "10"]
    sample = XorCorpus(tmp_path, limit=2)
    assert [passage.id for passage in sample] == ["0", "2"]
    queries_of_two = sample.queries(first=2)
    assert queries_of_two is not None
    assert [(each.passage_id, each.lang, each.text) for each in queries_of_two] == [
        *(("0", "ja", text) for text in "ab"),
        ("0", "te", "d"),
        *(("2", "ja", text) for text in "ab"),
        ("2", "te", "d"),
    ]


def test_a_folder_without_shards(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no files of the published set there: \.jsonl"):
        XorCorpus(tmp_path)


def test_predictions_are_written_and_read_in_the_official_format(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    predictions = [Prediction("7", "ja", ("Tokyo.", "Kyoto.")), Prediction("8", "te", ())]
    assert list(writing_predictions(path, iter(predictions))) == predictions
    assert read_predictions(path) == predictions
    assert json.loads(path.read_text())[0] == {
        "id": "7",
        "lang": "ja",
        "ctxs": ["Tokyo.", "Kyoto."],
    }
    assert list(writing_predictions(path, [])) == []
    assert read_predictions(path) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "7"}', "expected a JSON array"),
        ('["7"]', r"\[0\]: expected an object"),
        ('[{"id": "7", "lang": "ja"}]', r"\[0\]: field 'ctxs' is missing"),
        ('[{"id": "7", "lang": "ja", "ctxs": [1]}]', r"\[0\]: field 'ctxs' must be a list of str"),
        ("[{", "not valid JSON"),
    ],
)
def test_what_are_no_predictions(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_predictions(path)


def mkqa_row(**change: Any) -> dict[str, Any]:
    return {
        "example_id": -563,
        "query": "who",
        "queries": {"en": "who", "zh_cn": "谁", "ru": "кто"},
        "answers": {
            "en": [{"type": "entity", "text": "Dave Edmunds", "aliases": ["Edmunds"]}],
            "ru": [{"type": "entity", "text": "Дэйв"}],
        },
        **change,
    }


def test_mkqa_asks_in_every_language_and_answers_in_english(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "mkqa.jsonl", mkqa_row())
    answers = ("Dave Edmunds", "Edmunds")
    expected = [
        AnsweredQuestion(Question("en:-563", "en", "who"), answers, "-563"),
        AnsweredQuestion(Question("zh_cn:-563", "zh", "谁"), answers, "-563"),
        AnsweredQuestion(Question("ru:-563", "ru", "кто"), answers, "-563"),
    ]
    assert read_mkqa(path) == expected
    assert read_mkqa(path, languages=("ru",)) == expected[2:]
    with pytest.raises(InputError, match="no questions in sw"):
        read_mkqa(path, languages=("sw",))


@pytest.mark.parametrize("kind", ["unanswerable", "binary", "long_answer"])
def test_mkqa_has_answers_that_are_no_texts(tmp_path: Path, kind: str) -> None:
    row = mkqa_row(answers={"en": [{"type": kind, "text": None if kind == "x" else "yes"}]})
    assert {q.answers for q in read_mkqa(write_lines(tmp_path / "m.jsonl", row))} == {()}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([mkqa_row(), mkqa_row()], "line 2: question 'en:-563' comes twice"),
        ([mkqa_row(queries=None)], "line 1: no field 'queries'"),
        (
            [mkqa_row(answers={"ru": []})],
            "line 1: 'answers' must have a list of objects under 'en'",
        ),
        ([mkqa_row(queries=["x"])], "line 1: 'queries' must be an object"),
    ],
)
def test_what_is_no_mkqa(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_mkqa(write_lines(tmp_path / "m.jsonl", *rows))
