"""``xqg eval --hybrid``: every data set, in the layouts that are asked in their own ways."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.afriqa import row, write_split
from tests.beir import write_beir
from tests.xquad import paragraph, write_language
from xqg_qdrant.cli import main

RIVERS = ("Nile", "Danube", "Volga", "Rhine", "Congo", "Amur", "Niger", "Loire", "Ganges", "Ebro")
TEXTS = {
    river: f"The {river} is {n}00 miles long, and it carries sand"
    for n, river in enumerate(RIVERS, 1)
}
QUESTION = {"fi": "Kuinka pitkä on {}?", "ha": "Yaya tsawon {} yake?"}


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return path


def xquad_r(folder: Path) -> list[Any]:
    for language in ("en", "fi"):
        asked = QUESTION["fi"] if language == "fi" else "How long is the {}?"
        paragraphs = [
            paragraph(text, {f"{river}{n}": asked.format(river) + "?" * n for n in range(2)})
            for river, text in TEXTS.items()
        ]
        write_language(folder, language, paragraphs)
    return ["xquad-r", folder, "--augment", "questions"]


def afriqa(folder: Path) -> list[Any]:
    rows = [row(QUESTION["ha"].format(river), text) for river, text in TEXTS.items()]
    write_split(folder, "hau", "dev", *rows)
    return ["afriqa", folder]


def beir(folder: Path) -> list[Any]:
    corpus = [{"_id": river, "title": "", "text": text} for river, text in TEXTS.items()]
    asked = [
        {"_id": f"q{river}", "text": QUESTION["fi"].format(river), "lang": "fi"} for river in RIVERS
    ]
    write_beir(folder, corpus, asked, [(f"q{river}", river, 1) for river in RIVERS])
    queries = [{"passage_id": river, "lang": "fi", "text": f"{river} pitkä?"} for river in RIVERS]
    return ["beir", folder, "--queries", lines(folder / "generated.jsonl", queries)]


def answered(folder: Path) -> list[Any]:
    corpus = "".join(f"{river}\t{text}\tT\n" for river, text in TEXTS.items())
    (folder / "corpus.tsv").write_text("id\ttext\ttitle\n" + corpus)
    queries = [{"passage_id": river, "lang": "fi", "text": f"{river} pitkä?"} for river in RIVERS]
    lines(folder / "generated.jsonl", queries)
    return [
        *("--corpus", folder / "corpus.tsv", "--depth", "1"),
        *("--queries", folder / "generated.jsonl"),
    ]


def xor_tydi(folder: Path) -> list[Any]:
    asked = [
        {
            "id": river,
            "question": QUESTION["fi"].format(river),
            "lang": "fi",
            "answers": [f"{n}00 miles"],
        }
        for n, river in enumerate(RIVERS, 1)
    ]
    return ["xor-tydi", lines(folder / "dev.jsonl", asked), *answered(folder)]


def mkqa(folder: Path) -> list[Any]:
    asked = [
        {
            "example_id": n,
            "queries": {"fi": QUESTION["fi"].format(river)},
            "answers": {"en": [{"type": "entity", "text": f"{n}00 miles"}]},
        }
        for n, river in enumerate(RIVERS, 1)
    ]
    return ["mkqa", lines(folder / "mkqa.jsonl", asked), *answered(folder)]


@pytest.mark.parametrize("layout", ["tunable", "multivector"])
@pytest.mark.parametrize("data", [xquad_r, afriqa, beir, xor_tydi, mkqa])
def test_names_are_found_in_every_data_set_and_layout(
    tmp_path: Path,
    environment: Mapping[str, str],
    data: Callable[[Path], list[Any]],
    layout: str,
) -> None:
    asked = [str(each) for each in data(tmp_path)]

    def measured(*options: str) -> tuple[str, float]:
        arguments = ["eval", *asked, "--layout", layout, "--json", "-q", *options]
        arguments += ["--encoder", "mini-static"]
        done = CliRunner().invoke(main, arguments, env=dict(environment))
        assert done.exit_code == 0, done.output
        found = [each for each in json.loads(done.stdout) if each["language"] == "average"]
        first = next(each for each in found if each["measure"] in ("R@1", "R@2kt"))
        return first["system"], first["value"]

    name, hybrid = measured("--hybrid")
    assert name.startswith("mini-static, hybrid")
    assert (layout in name) == (data is not afriqa)  # where there are queries
    name, dense = measured()
    assert "hybrid" not in name
    assert hybrid >= 0.8
    assert hybrid >= dense
