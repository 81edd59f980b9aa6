from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests import paper
from xqg_qdrant.errors import InputError, ModelError
from xqg_qdrant.evaluation.reproduction.inputs import (
    AUGMENTED_FOLDER,
    CORPUS_FILE,
    ENCODERS_FOLDER,
    GENERATOR_FOLDER,
    QUERIES_FILE,
    QUESTIONS_FILE,
    RUNS_FOLDER,
    FirstQueries,
    open_inputs,
    strange_size,
)
from xqg_qdrant.evaluation.reproduction.paper import LANGUAGES, MBERT, ROWS, SHARDS, XLM_R

MBERT_ROW, MBERT_XQG, XLM_ROW, XLM_XQG = ROWS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose name needs quotes in a shell."""
    made = tmp_path / "the paper"
    made.mkdir()
    return made


def test_nothing_is_there(folder: Path) -> None:
    inputs = open_inputs(folder)
    assert not inputs.has_queries
    questions, passages, encoder = inputs.missing_for(MBERT_XQG)
    assert questions.path == str(folder / QUESTIONS_FILE)
    assert questions.commands == (f"xqg data fetch xor-tydi --to '{folder}'",)
    assert AUGMENTED_FOLDER in passages.path and QUERIES_FILE in passages.path
    download, either, *steps = passages.commands
    assert download.startswith("huggingface-cli download --repo-type dataset ielab/xor-tydi-xqg")
    assert either == "or"
    assert [step.split()[1] for step in steps] == ["data", "export", "generate"]
    assert all(f"'{folder}" in command for command in (download, *steps))
    assert encoder.commands == (
        f"xqg export {MBERT.model} -o '{folder / ENCODERS_FOLDER / 'mbert'}' "
        f"--allow-pickle {MBERT.model}",
        "or",
        f"git clone https://github.com/ielab/xQG4xDR '{folder / 'xQG4xDR'}'",
        f"cp -r '{folder / 'xQG4xDR'}'/runs '{folder / RUNS_FOLDER}'",
    )
    assert all(row.run in encoder.path for row in (MBERT_ROW, MBERT_XQG))
    # Passages alone are enough without xQG; nobody published a checkpoint of XLM-R.
    _, passages, encoder = inputs.missing_for(XLM_ROW)
    assert QUERIES_FILE not in passages.path
    assert "xqg generate" not in " ".join(passages.commands)
    assert "xlm-roberta-base" in encoder.note
    assert encoder.commands[0].startswith("xqg export CHECKPOINT ")
    assert encoder.commands[0].endswith("--preset xor-tydi")


def test_all_is_there(folder: Path) -> None:
    paper.write_questions(folder)
    paper.write_augmented(folder)
    for name in ("mbert", "xlm-r"):
        paper.write_encoder(folder, name)
    inputs = open_inputs(folder)
    assert [inputs.missing_for(row) for row in ROWS] == [[]] * 4
    assert inputs.missing_for_figures() == []
    counts = Counter((each.passage_id, each.lang) for each in inputs.queries())
    assert len(counts) == 70 and set(counts.values()) == {5}
    asked, *rest = inputs.deviations([MBERT, XLM_R])
    assert asked.startswith("questions with an answer to look for: ar 10 of 309, bn 10 of 304, ")
    assert rest == [
        "mBERT: pooling is 'mean', the paper's 'cls'",
        f"mBERT: made from random, the paper's is {MBERT.model}",
        "XLM-R: pooling is 'mean', the paper's 'cls'",
    ]
    assert set(open_inputs(folder, rows=[XLM_XQG]).encoders) == {"xlm-r"}


def test_passages_without_queries(folder: Path) -> None:
    paper.write_corpus(folder)
    paper.write_encoder(folder, "mbert")
    inputs = open_inputs(folder)
    assert [each.what for each in inputs.missing_for(MBERT_ROW)] == [
        "questions of XOR-TyDi, development set"
    ]
    lost = inputs.missing_for(MBERT_XQG)[-1]
    assert lost.path.endswith(QUERIES_FILE)
    assert [command.split()[1] for command in lost.commands[2:]] == ["export", "generate"]
    assert str(folder / CORPUS_FILE) in lost.commands[-1]
    assert inputs.missing_for_figures() == inputs.missing_for(MBERT_XQG)
    assert inputs.missing_for_figures([XLM_ROW]) == inputs.missing_for(XLM_XQG)
    # A generator that is exported already is not exported again.
    (folder / GENERATOR_FOLDER).mkdir()
    (folder / GENERATOR_FOLDER / "manifest.json").write_text("{}")
    commands = inputs.missing_for(MBERT_XQG)[-1].commands
    assert [command.split()[1] for command in commands[2:]] == ["generate"]
    with pytest.raises(InputError, match="no generated queries"):
        inputs.queries()


def test_passages_and_queries_of_ones_own(folder: Path) -> None:
    paper.write_corpus(folder)
    paper.write_queries(folder)
    paper.write_encoder(folder, "mbert")
    inputs = open_inputs(folder, limit=3)
    assert inputs.deviations([]) == []
    assert inputs.deviations([MBERT])[:2] == [
        "the first 3 passages alone",
        "queries of queries.jsonl, not the published ones",
    ]
    counts = Counter((each.passage_id, each.lang) for each in inputs.queries(2))
    assert {passage for passage, _ in counts} == {"0", "1", "2"}
    assert len(counts) == 21 and set(counts.values()) == {2}
    # Gzipped files are found too.
    import gzip

    plain = folder / CORPUS_FILE
    plain.with_name(f"{plain.name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    found = open_inputs(folder)
    assert found.corpus is not None and len(list(found.corpus)) == 10


def test_the_same_queries_from_either_file(folder: Path) -> None:
    paper.write_augmented(folder)
    path = paper.write_queries(folder)
    inputs = open_inputs(folder)
    assert list(inputs.queries(3)) == list(FirstQueries(path, 3))


def test_what_is_not_whole_or_not_the_papers(folder: Path) -> None:
    paper.write_questions(folder, ["ja", "te"])
    data = paper.write_augmented(folder)
    paper.write_encoder(folder, "mbert")
    [asked, *rest] = open_inputs(folder).deviations([MBERT])
    assert "fi 0 of 314, ja 10 of 241" in asked
    (data / "shard_3.jsonl").unlink()
    (data / f"shard_{SHARDS - 1}.jsonl").unlink()
    [_, lost, *_] = open_inputs(folder).deviations([MBERT])
    assert lost == "the augmented set is not whole: no shard_3.jsonl, shard_18.jsonl"
    # Named otherwise, as the hub converts it, nothing is known of its files.
    for number, path in enumerate(sorted(data.iterdir())):
        path.rename(data / f"000{number}.jsonl")
    assert open_inputs(folder).deviations([MBERT]) == [asked, *rest]


@pytest.mark.parametrize(
    ("passages", "comparable"), [(10, False), (18_003_200, True), (17_000_000, False)]
)
def test_size_of_the_corpus(passages: int, comparable: bool) -> None:
    assert (strange_size(passages) == "") == comparable


def test_a_checkpoint_that_is_not_exported(folder: Path) -> None:
    checkpoint = folder / ENCODERS_FOLDER / "mbert"
    checkpoint.mkdir(parents=True)
    [*_, lost] = open_inputs(folder).missing_for(MBERT_ROW)
    assert lost.commands[0].startswith(f"xqg export {MBERT.model}")
    (checkpoint / "config.json").write_text("{}")
    [*_, lost] = open_inputs(folder).missing_for(MBERT_ROW)
    assert lost.commands[:2] == (
        f"mv '{checkpoint}' '{checkpoint}-checkpoint'",
        f"xqg export '{checkpoint}-checkpoint' -o '{checkpoint}' --preset xor-tydi",
    )
    assert "no exported encoder" in lost.note


def test_what_is_malformed(folder: Path) -> None:
    (folder / AUGMENTED_FOLDER).mkdir()
    with pytest.raises(InputError, match="no files of the published set"):
        open_inputs(folder)
    shutil.rmtree(folder / AUGMENTED_FOLDER)
    questions = paper.write_questions(folder)
    questions.write_text('{"id": "1", "question": "?", "lang": "ja"}\n')
    with pytest.raises(InputError, match="line 1: no field 'answers'"):
        open_inputs(folder)
    questions.unlink()
    encoder = paper.write_encoder(folder, "mbert")
    manifest = json.loads((encoder / "manifest.json").read_text())
    (encoder / "manifest.json").write_text(json.dumps({**manifest, "kind": "generator"}))
    with pytest.raises(ModelError, match="an encoder is wanted"):
        open_inputs(folder)
    assert open_inputs(folder, rows=[XLM_ROW]).encoders == {}


def test_every_language_has_queries() -> None:
    first = paper.rows()[0]["generated_queries"]
    assert isinstance(first, dict) and tuple(first) == LANGUAGES
