"""Layouts and hybrid search through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.behaviour.conftest import Run

PASSAGES = [
    {"id": "printing", "text": "A goldsmith of Mainz, Gutenberg, cast letters."},
    *(
        {"id": f"p{n}", "text": f"Rivers carry sand, report {n}, and other things."}
        for n in range(30)
    ),
]
QUERIES = [
    {"passage_id": "printing", "lang": "sw", "text": "Nani alibuni uchapishaji wa vitabu?"},
    {"passage_id": "p1", "lang": "de", "text": "Was tragen Flüsse?"},
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for name, rows in (("passages", PASSAGES), ("queries", QUERIES)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


def ingest(xqg: Run, *options: str) -> str:
    done = xqg(
        *("ingest", "passages.jsonl", "--queries", "queries.jsonl"),
        *("--to", "library", "-c", "c", *options),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def found(xqg: Run, question: str, *options: str) -> list[str]:
    done = xqg("search", question, "--from", "library", "-c", "c", "--json", *options)
    assert done.returncode == 0, done.stderr
    return [hit["id"] for hit in json.loads(done.stdout)]


@pytest.mark.parametrize("layout", ["fused", "per-language", "tunable", "multivector"])
def test_a_hybrid_collection_is_made_and_searched(xqg: Run, corpus: Path, layout: str) -> None:
    """Of no random encoder: MaxSim is sure of what it says."""
    chosen = ["--layout", layout, "--hybrid", "--encoder", "mini-static"]
    assert f"{layout}, hybrid" in ingest(xqg, *chosen)
    encoder = ["--encoder", "mini-static"]
    assert found(xqg, "Кто такой Гутенберг?", "--lang", "ru", *encoder)[0] == "printing"
    assert found(xqg, "uchapishaji wa vitabu", "--lang", "sw", *encoder)[0] == "printing"
    info = xqg("info", "--from", "library", "-c", "c").stdout
    assert "ngram-metaphone-1" in info
    assert ("nothing is summed" in info) == (layout == "multivector")


def test_alpha_and_weights_are_chosen_with_the_question(xqg: Run, corpus: Path) -> None:
    ingest(xqg, "--layout", "tunable")
    question = "Nani alibuni uchapishaji wa vitabu?"
    own = found(xqg, question, "--lang", "sw", "--alpha", "1")
    assert own[0] == "printing"
    assert found(xqg, question, "--lang", "de", "--alpha", "1")[0] == "p1"
    weights = ["--alpha", "1", "--language-weights", "swa=1,de=0"]
    assert found(xqg, question, "--lang", "de", *weights) == own


def test_a_dump_holds_the_sparse_vectors(xqg: Run, corpus: Path) -> None:
    ingest(xqg, "--hybrid")
    rows = [
        json.loads(line) for line in xqg("dump", "--from", "library", "-c", "c").stdout.splitlines()
    ]
    assert len(rows) == len(PASSAGES)
    for row in rows:
        sparse = row["vectors"]["bm25"]
        assert len(sparse["indices"]) == len(sparse["values"]) > 10


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--alpha", "0.5"], 1, "whose alpha cannot be chosen"),
        (["--alpha", "2"], 2, "alpha is 2.0"),
        (["--language-weights", "de=1"], 1, "whose language_weights cannot be chosen"),
        (["--language-weights", "de"], 2, "write CODE=NUMBER"),
        (["--language-weights", "x1=1"], 2, "unknown language code"),
        (["--hybrid"], 1, "no lexical vectors"),
    ],
)
def test_what_the_collection_cannot_do_is_told(
    xqg: Run, corpus: Path, options: list[str], code: int, message: str
) -> None:
    ingest(xqg)
    done = xqg("search", "Nani?", "--from", "library", "-c", "c", *options)
    assert done.returncode == code
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_other_settings_than_those_of_the_collection_are_told(xqg: Run, corpus: Path) -> None:
    ingest(xqg)
    done = xqg("ingest", "passages.jsonl", "--to", "library", "-c", "c", "--hybrid")
    assert done.returncode == 1
    assert "hybrid (False, now True)" in " ".join(done.stderr.split())


def test_eval_measures_hybrid_search(xqg: Run, tmp_path: Path) -> None:
    from tests.beir import write_beir

    folder = write_beir(
        tmp_path / "beir",
        [{"_id": row["id"], "title": "", "text": row["text"]} for row in PASSAGES],
        [{"_id": "q", "text": "Кто такой Гутенберг?", "lang": "ru"}],
        [("q", "printing", 1)],
    )
    done = xqg("eval", "beir", folder, "--hybrid", "--measures", "MRR@10", "--json")
    assert done.returncode == 0, done.stderr
    [row, *_] = [row for row in json.loads(done.stdout) if row["language"] == "ru"]
    assert row["system"] == "tiny, hybrid"
    assert row["value"] == 1
