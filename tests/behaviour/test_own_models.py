"""A user's own models, from their folders to a search: export, generate, filter, ingest, search."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import checkpoints
from tests.behaviour.conftest import Run
from xqg_qdrant.corpus import samples
from xqg_qdrant.corpus.jsonl import read_passages

pytest.importorskip("transformers", reason="needs the export extra")

PROMPT = "Generate a {language} question for this passage: {title} {passage}"


@pytest.fixture
def passages(tmp_path: Path) -> Path:
    path = tmp_path / "passages.jsonl"
    rows = [passage for _, passage in read_passages(samples.PASSAGES)][:6]
    path.write_text(
        "".join(
            json.dumps({"id": each.id, "title": each.title, "text": each.text, "lang": "en"}) + "\n"
            for each in rows
        ),
        encoding="utf-8",
    )
    return path


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_whole_way(xqg: Run, passages: Path, tmp_path: Path, precision: str) -> None:
    checkpoints.build_sentence_transformer(tmp_path / "xlmr", base="xlmr", dense=None)
    checkpoints.build_mt5(tmp_path / "mt5")
    models = {"XQG_MODELS": str(tmp_path / "models")}

    done = xqg(
        "export", "xlmr", "-o", "models/own", "--precision", precision,
        "--trim-vocab", f"sw,ar,{passages}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = xqg(
        "export", "mt5", "-o", "models/writer", "--precision", precision, "--prompt", PROMPT,
        "--languages", "sw,ar", "--trim-vocab", f"sw,ar,{passages}", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["manifest"]["kind"] == "generator"
    listed = json.loads(xqg("models", "--json", env=models).stdout)
    assert {"own": "encoder", "writer": "generator"}.items() <= {
        each["name"]: each["kind"] for each in listed
    }.items()

    done = xqg(
        "generate", passages, "--model", "writer", "--per-language", "3", "--max-length", "12",
        "-o", "queries.jsonl", "--json", env=models,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["queries"] == {"ar": 18, "sw": 18}
    done = xqg(
        "filter", "queries.jsonl", "--passages", passages, "--encoder", "own", "--keep", "0.5",
        "-o", "kept.jsonl", env=models,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = xqg(
        "ingest", passages, "--queries", "kept.jsonl", "--encoder", "own", "--to", "library",
        "-c", "c", "--json", env=models,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["queries"] == {"ar": 9, "sw": 9}
    kept = [json.loads(line) for line in (tmp_path / "kept.jsonl").read_text().splitlines()]
    asked = next(row for row in kept if row["lang"] == "sw")
    done = xqg(
        "search", asked["text"], "--lang", "sw", "--from", "library", "-c", "c", "--encoder", "own",
        "--json", env=models,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    hits = json.loads(done.stdout)
    assert len(hits) == 5
    assert hits[0]["queries"]
    done = xqg("info", "--from", "library", "-c", "c", env=models)
    assert "writer" in done.stdout


def test_a_generator_does_not_encode_nor_an_encoder_write(
    xqg: Run, passages: Path, tiny_generator_folder: Path, tiny_folder: Path
) -> None:
    done = xqg("ingest", passages, "--encoder", tiny_generator_folder, "--to", "d", "-c", "c")
    assert done.returncode == 1
    assert "this is a model of kind 'generator', an encoder is wanted" in done.stderr
    done = xqg("generate", passages, "--model", tiny_folder, "--languages", "sw", "-o", "q.jsonl")
    assert done.returncode == 1
    assert "this is a model of kind 'encoder', a generator is wanted" in done.stderr
    assert "Traceback" not in done.stderr
