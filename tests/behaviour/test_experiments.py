"""``xqg sweep`` and ``xqg compare`` on collections, and what follows from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.evaluation.test_bench import parted
from tests.tiny import build_encoder
from xqg_qdrant.cli import main

Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """The command line, in this process and an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, [*map(str, arguments)], env=dict(environment))

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return parted(tmp_path / "xquad-r")


def found_by(done: Result) -> Any:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def averages(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {
        row["system"]: row["value"]
        for row in rows
        if (row["language"], row["measure"]) == ("average", "MRR@10")
    }


def load(call: Call, folder: Path, layout: str, *options: str) -> tuple[float, list[str]]:
    """Both folds in collections: the average that searches of them have, and their options."""
    done = call(
        *("eval", "xquad-r", folder, "--augment", "questions", "--layout", layout, "--hybrid"),
        *("--to", "library", "--json", "-q", *options),
    )
    [value] = averages(found_by(done)).values()
    names = [f"xquad-r-questions-{layout}-{fold}-hybrid" for fold in (0, 1)]
    return value, ["--from", "library", "-c", names[0], "-c", names[1]]


def test_one_index_gives_every_alpha(call: Call, folder: Path) -> None:
    searched, stored = load(call, folder, "tunable", "--alpha", "0.5")
    asked = ["sweep", "alpha", folder, "--alphas", "0.1,0.5", "--resamples", "0", "--json", "-q"]
    found = found_by(call(*asked, *stored))
    # As the collections are: hybrid, and by their own encoder.
    assert found["settings"]["experiment"] == "alpha, per-language, hybrid"
    assert "(tunable, hybrid) at library" in found["settings"]["queries"]
    assert averages(found["rows"])["alpha 0.5"] == pytest.approx(searched)
    encoded = found_by(call(*asked, "--hybrid"))
    assert averages(encoded["rows"]) == pytest.approx(averages(found["rows"]))
    dense = found_by(call(*asked, *stored, "--no-hybrid"))
    assert dense["settings"]["experiment"] == "alpha, per-language"
    assert averages(dense["rows"]) != averages(found["rows"])
    found = found_by(call("sweep", "languages", folder, *stored, "--alpha", "0.5", "--json", "-q"))
    assert "the asker's language" in averages(found["rows"])
    done = call("compare", folder, *stored, "--resamples", "100", "-q", "--report", "report")
    assert done.exit_code == 0, done.output
    assert "queries, tunable, hybrid minus own sentences, hybrid" in done.stdout
    assert "multivector" not in done.stdout  # sums give no single queries
    page = Path("report/report.html").read_text(encoding="utf-8")
    assert page.count("<h3>Dense</h3>") == page.count("<h3>Hybrid: fused") == 3


def test_single_queries_are_read_from_multivectors(call: Call, folder: Path) -> None:
    searched, stored = load(call, folder, "multivector")
    asked = ["sweep", "queries", folder, "--alpha", "1", "--no-hybrid", "--json", "-q"]
    found = found_by(call(*asked, *stored))
    assert list(averages(found["rows"])) == ["0 queries", "1 query", "2 queries"]
    assert averages(found["rows"]) == pytest.approx(averages(found_by(call(*asked))["rows"]))
    found = found_by(call("compare", folder, *stored, "--resamples", "0", "--json", "-q"))
    assert averages(found["rows"])["queries, multivector, hybrid"] == pytest.approx(searched)


def test_what_cannot_be_done_is_told(call: Call, folder: Path, tmp_path: Path) -> None:
    _, stored = load(call, folder, "tunable")
    build_encoder(tmp_path / "stranger", name="stranger", seed=9)
    Path("x.jsonl").write_text("")
    alpha: tuple[object, ...] = ("sweep", "alpha", folder)
    for arguments, code, message in (
        (("sweep", "queries", folder, *stored), 1, "does not keep each query's own vector"),
        ((*alpha, *stored[:4]), 1, "give the collections of both folds"),
        ((*alpha, *stored, "--encoder", tmp_path / "stranger"), 1, "Leave --encoder out"),
        ((*alpha, *stored, "--queries", "x.jsonl"), 2, "queries of its own"),
        ((*alpha, "--from", "library"), 2, "--from says where --collection is"),
        ((*alpha, "--from", "library", "-c", "none"), 1, "no collection 'none'"),
        (("compare", folder, "--from", "library", "-c", "none"), 1, "no collection 'none'"),
    ):
        done = call(*arguments)
        assert done.exit_code == code, done.output
        assert message in " ".join(done.stderr.split())


def test_defaults_follow_from_a_run_and_ingests_take_them(
    call: Call, folder: Path, tmp_path: Path
) -> None:
    encoder = build_encoder(tmp_path / "mine", name="mine")
    asked = ["sweep", "defaults", folder, "--encoder", encoder, "--measures", "MRR@10", "-q"]
    found = found_by(call(*asked, "--resamples", "0", "--json"))
    assert {layout: sides.keys() for layout, sides in found["alphas"].items()} == {
        layout: {"dense", "hybrid"} for layout in ("per-language", "fused")
    }
    rows = averages(found["rows"])
    assert "per-language, alpha 0.1, default" in rows
    assert "fused, hybrid, cross-validated" in rows
    done = call(*asked, "--alphas", "0.25,0.4", "--resamples", "50")
    assert done.exit_code == 0, done.output
    fragment = done.stdout.splitlines()[-1].removeprefix("For the encoder's manifest.json: ")
    alphas = json.loads(f"{{{fragment}}}")["alphas"]
    manifest = encoder / "manifest.json"
    row = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**row, "alphas": alphas}))
    Path("p.jsonl").write_text('{"id": "1", "text": "sand"}\n')
    ingest = ["ingest", "p.jsonl", "--to", "library", "--encoder", encoder, "-q"]
    for name, options, expected in (
        ("a", [], alphas["per-language"]["dense"]),
        ("b", ["--hybrid"], alphas["per-language"]["hybrid"]),
        ("c", ["--layout", "tunable"], alphas["per-language"]["dense"]),
        ("d", ["--layout", "fused", "--hybrid"], alphas["fused"]["hybrid"]),
        ("e", ["--layout", "multivector"], 0.0),
        ("f", ["--alpha", "0.3"], 0.3),
    ):
        done = call(*ingest, "-c", name, *options)
        assert done.exit_code == 0, done.output
        info = found_by(call("info", "--from", "library", "-c", name, "--json"))
        assert info["manifest"]["alpha"] == expected
