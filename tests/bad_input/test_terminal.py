"""The command line with text that nobody typed on purpose."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.bad_input.test_table import failed, run
from tests.behaviour.conftest import XQG
from tests.tiny import build_encoder
from xqg_qdrant import Client, Encoder, Passage

ESCAPE = "\x1b]0;owned\x07\x1b[2J"


@pytest.fixture
def library(tmp_path: Path, tiny_encoder: Encoder) -> str:
    with Client(tmp_path / "library", encoder=tiny_encoder) as client:
        client.ingest("c", [Passage("a", f"Water {ESCAPE}\x9b31m boils.", f"Title {ESCAPE}")])
    return str(tmp_path / "library")


def test_texts_of_others_cannot_steer_a_terminal(library: str, tiny_folder: Path) -> None:
    done = run(tiny_folder.parent, "search", "water", "--from", library)
    assert done.exit_code == 0
    assert "boils." in done.stdout
    assert not {"\x1b", "\x07", "\x9b"} & set(done.stdout)
    # For machines, all of it.
    (hit,) = json.loads(run(tiny_folder.parent, "search", "x", "--from", library, "--json").stdout)
    assert ESCAPE in hit["text"]


def test_names_of_models_cannot_either(tmp_path: Path) -> None:
    build_encoder(tmp_path / "m", name=f"m{ESCAPE}")
    build_encoder(tmp_path / "n", name="n")
    manifest = json.loads((tmp_path / "n" / "manifest.json").read_text())
    (tmp_path / "n" / "manifest.json").write_text(json.dumps({**manifest, "license": "\ud800"}))
    done = run(tmp_path, "models")
    assert done.exit_code == 0
    assert "\x1b" not in done.stdout
    assert "'license' must be a non-empty string" in done.stderr


@pytest.mark.parametrize(
    "value", ["[" * 20_000, "9" * 5_000, "NaN", "1e400", '{"a": 1}', "[[1]]", "null"]
)
def test_filters_that_are_no_values(library: str, tiny_folder: Path, value: str) -> None:
    done = run(tiny_folder.parent, "search", "x", "--from", library, "--filter", f"k={value}")
    if value in ("[" * 20_000, "9" * 5_000):  # a text that nothing holds
        assert (done.exit_code, done.stdout) == (0, "no hits\n")
    else:
        failed(done, 1, "filter 'k' wants")


def test_questions_that_are_not_utf8(library: str, tmp_path: Path, tiny_folder: Path) -> None:
    done = subprocess.run(
        [*XQG, "search", "-", "--from", library],
        input=b"water\n\xff\xfe\n",
        capture_output=True,
        env={"XQG_MODELS": str(tiny_folder.parent), "XQG_ENCODER": "tiny", "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert done.returncode == 1
    assert b"Error: standard input, line 2: not UTF-8" in done.stderr
    assert b"Traceback" not in done.stderr
