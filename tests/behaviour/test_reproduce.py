"""``xqg reproduce`` as a user meets it: with everything, with some of it, and with nothing."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from tests import paper
from tests.behaviour.conftest import Run
from xqg_qdrant.cli import main
from xqg_qdrant.evaluation.reproduction.inputs import (
    AUGMENTED_FOLDER,
    CORPUS_FILE,
    ENCODERS_FOLDER,
    QUERIES_FILE,
    QUESTIONS_FILE,
)
from xqg_qdrant.evaluation.reproduction.paper import ROWS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "paper"
    made.mkdir()
    return made


@pytest.fixture
def whole(folder: Path) -> Path:
    """All that the mBERT rows need; XLM-R is missing."""
    paper.write_questions(folder)
    paper.write_augmented(folder)
    paper.write_encoder(folder, "mbert")
    return folder


def measured(found: dict[str, Any], row: str) -> dict[tuple[str, str], float | None]:
    return {
        (cell["measure"], cell["language"]): cell["measured"]
        for cell in found["cells"]
        if cell["row"] == row
    }


def test_nothing_is_there(xqg: Run, folder: Path) -> None:
    done = xqg("reproduce", "paper")
    assert done.returncode == 1
    assert "nothing of what was asked for can be measured" in done.stderr
    assert "Traceback" not in done.stderr
    for name in (QUESTIONS_FILE, AUGMENTED_FOLDER, CORPUS_FILE, QUERIES_FILE, "encoders/mbert"):
        assert f"paper/{name}" in done.stdout
    assert "Not measured: mbert, mbert-xqg, xlm-r, xlm-r-xqg" in done.stdout
    found = json.loads(xqg("reproduce", "paper", "--json", "--only", "mbert").stdout)
    assert list(found["missing"]) == ["mbert"]
    assert found["missing"]["mbert"][0]["path"] == f"paper/{QUESTIONS_FILE}"
    assert {cell["measured"] for cell in found["cells"]} == {None}
    assert found["cells"][0]["published"] == 41.1
    assert not found["comparable"]


def test_every_command_that_is_named_exists(xqg: Run, folder: Path) -> None:
    done = xqg("reproduce", "paper", "--json", "--only", "table", "--only", "alpha")
    missing = json.loads(done.stdout)["missing"]
    assert set(missing) == {*(row.name for row in ROWS), "alpha"}
    commands = {c for lost in missing.values() for each in lost for c in each["commands"]}
    ours = [shlex.split(command) for command in commands if command.startswith("xqg ")]
    assert {words[1] for words in ours} == {"data", "export", "generate"}
    for words in ours:
        command: click.Command = main
        for word in words[1:]:
            if isinstance(command, click.Group):
                command = command.commands[word]
        flags = {flag for each in command.params for flag in each.opts}
        assert {word for word in words if word.startswith("-")} <= flags


def test_part_of_it_is_there(xqg: Run, whole: Path, tmp_path: Path) -> None:
    done = xqg("reproduce", "paper", "--report", "report", "--resamples", 100)
    assert done.returncode == 0, done.stderr
    assert "Not measured: xlm-r, xlm-r-xqg. Missing:" in done.stdout
    assert "xqg export CHECKPOINT -o paper/encoders/xlm-r" in done.stdout
    assert "Not comparable with the published values:" in done.stdout
    assert "mBERT + xQG, average: R@2kt 100.00 (published 46.23)" in done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    place = lines.index(["mBERT", "+", "xQG", *["100.00*"] * 8])
    assert lines[place + 1][:2] == ["published", "42.39"]
    assert lines[place + 2][:2] == ["difference", "+57.61"]
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "not comparable" in page and "<td>42.39 </td>" in page
    assert "xlm-r-xqg was not measured, for want of: encoder XLM-R." in page
    assert json.loads((tmp_path / "report" / "report.json").read_text())["tables"]
    # The same through 'xqg eval', of which this is a row.
    asked = ["eval", "xor-tydi", whole / QUESTIONS_FILE, "--corpus", whole / AUGMENTED_FOLDER]
    asked += ["--layout", "fused", "--no-queries", "--encoder", whole / ENCODERS_FOLDER / "mbert"]
    rows = json.loads(xqg(*asked, "--json", "--resamples", 0).stdout)
    theirs = {
        (row["measure"].removeprefix("official "), row["language"]): 100 * row["value"]
        for row in rows
        if row["measure"].startswith("official")
    }
    found = json.loads(
        xqg("reproduce", "paper", "--json", "--only", "mbert", "-q", "--resamples", 0).stdout
    )
    assert measured(found, "mbert") == theirs


def test_corpus_and_queries_of_ones_own(xqg: Run, folder: Path) -> None:
    paper.write_questions(folder)
    paper.write_corpus(folder)
    paper.write_encoder(folder, "mbert")
    asked = ["reproduce", "paper", "--to", "collections", "-q", "--resamples", 0, "--json"]
    done = xqg(*asked)
    assert done.returncode == 0, done.stderr
    plain = json.loads(done.stdout)
    assert list(plain["missing"]) == ["mbert-xqg", "xlm-r", "xlm-r-xqg"]
    # 'xqg generate' reads this corpus as it is; here the control stands for a generator.
    asking = ["generate", folder / CORPUS_FILE, "--sentences", "--languages", "en"]
    generated = xqg(*asking, "-o", folder / QUERIES_FILE)
    assert generated.returncode == 0, generated.stderr
    (folder / QUERIES_FILE).unlink()
    paper.write_queries(folder)
    done = xqg(*asked)
    assert done.returncode == 0, done.stderr
    both = json.loads(done.stdout)
    assert measured(both, "mbert") == measured(plain, "mbert")
    assert measured(both, "mbert-xqg")["R@2kt", "average"] == 100
    assert "queries of queries.jsonl, not the published ones" in both["deviations"]
    assert {cell["significant"] for cell in both["cells"]} == {None}  # no tests without samples
    # Other data in the same place is.
    lines = (folder / CORPUS_FILE).read_text().splitlines(keepends=True)
    (folder / CORPUS_FILE).write_text("".join(lines[:-1]))
    (folder / QUERIES_FILE).unlink()
    done = xqg(*asked)
    assert done.returncode == 1
    assert "other data was measured there" in done.stderr


def test_what_is_malformed(xqg: Run, whole: Path, tmp_path: Path) -> None:
    def fails(*arguments: object) -> str:
        done = xqg("reproduce", "paper", "-q", *arguments)
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stderr
        return done.stderr

    (tmp_path / "file").write_text("x")
    assert "file/report: cannot be made" in fails("--report", "file/report")
    shard = whole / AUGMENTED_FOLDER / "data" / "shard_1.jsonl"
    good = shard.read_text()
    shard.write_text('{"docid": "1", "text": "t"}\n')
    assert "shard_1.jsonl, line 1: no field 'generated_queries'" in fails()
    shard.write_text(good)
    tokenizer = whole / ENCODERS_FOLDER / "mbert" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + " ")
    assert "tokenizer.json: its sha256 is" in fails()
    (whole / QUESTIONS_FILE).write_text("[]\n")
    assert f"{QUESTIONS_FILE}, line 1: expected a JSON object" in fails()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "'nowhere' does not exist"),
        (["paper", "--only", "bert"], "'bert' is not one of 'table', 'mbert'"),
        (["paper", "--limit", "0"], "--limit"),
    ],
)
def test_wrong_usage(xqg: Run, folder: Path, arguments: list[str], message: str) -> None:
    done = xqg("reproduce", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
