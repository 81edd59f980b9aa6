from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from tests.beir import write_beir
from xqg_qdrant.corpus.beir import open_beir
from xqg_qdrant.errors import InputError
from xqg_qdrant.records import Passage, Qrel, Question

CORPUS: list[dict[str, Any]] = [
    {"_id": "d1", "title": "Nile", "text": "A river. ", "metadata": {"url": "x"}},
    {"_id": "d2", "title": "Only a title", "text": ""},
    {"_id": "d3", "title": "", "text": " "},
    {"_id": "d4", "text": "No title."},
]
QUERIES: list[dict[str, Any]] = [
    {"_id": "q1", "text": "Which river?"},
    {"_id": "q2", "text": "Mto gani?", "metadata": {"lang": "swa"}},
    {"_id": "q3", "text": "Nobody judged this."},
    {"_id": "q4", "text": "Wanne kogi?", "lang": "ha"},
]
QRELS = [("q1", "d1", 2), ("q2", "d4", 1), ("q4", "d1", 0)]


def test_the_three_files(tmp_path: Path) -> None:
    data = open_beir(write_beir(tmp_path, CORPUS, QUERIES, QRELS))
    passages = [Passage("d1", "A river.", "Nile"), Passage("d2", "Only a title")]
    for _ in range(2):  # it can be gone through again
        assert list(data.passages) == [*passages, Passage("d4", "No title.")]
        assert (data.passages.count, data.passages.skipped) == (3, 1)
    assert data.questions == (
        Question("q1", "en", "Which river?"),
        Question("q2", "sw", "Mto gani?"),
        Question("q4", "ha", "Wanne kogi?"),
    )
    assert data.qrels == tuple(Qrel(*row) for row in QRELS)


def test_gzipped_files_and_other_languages(tmp_path: Path) -> None:
    write_beir(tmp_path, CORPUS, QUERIES, QRELS, split="dev")
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/dev.tsv"):
        path = tmp_path / name
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    data = open_beir(tmp_path, split="dev", lang="de")
    assert [each.lang for each in data.questions] == ["de", "sw", "ha"]
    assert len(list(data.passages)) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corpus": [{"id": "d1", "text": "x"}]}, "corpus.jsonl, line 1: no field '_id'"),
        ({"corpus": [{"_id": "d1", "text": ["x"]}]}, "line 1: 'text' must be a string"),
        ({"queries": QUERIES[:1]}, "judges query 'q2', which is not in .*2 such"),
        ({"queries": [QUERIES[0], QUERIES[0]]}, "line 2: query 'q1' comes twice"),
        ({"queries": [{"_id": "q1", "text": None}]}, "line 1: text is empty"),
        ({"qrels": []}, "no judgements"),
        ({"qrels": [("q1", "d1", "much")]}, "line 2: the relevance is 'much'"),
        ({"split": "train"}, "test.tsv: no such file.*splits found: train"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    files: dict[str, Any] = {"corpus": CORPUS, "queries": QUERIES, "qrels": QRELS, **change}
    write_beir(tmp_path, **files)
    with pytest.raises(InputError, match=message):
        list(open_beir(tmp_path).passages)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"corpus.jsonl: no such file"):
        open_beir(tmp_path)
