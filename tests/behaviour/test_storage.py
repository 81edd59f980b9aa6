"""Storage options on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.behaviour.conftest import Run, write_corpus


def test_options_are_kept_shown_and_asked_of_later_runs(xqg: Run, tmp_path: Path) -> None:
    passages, queries = write_corpus(tmp_path, 40)
    base = ("ingest", passages, "--queries", queries, "--to", "library", "-c", "c", "-q")
    options = ("--quantization", "int8", "--on-disk", "--hnsw-m", "8", "--hnsw-ef", "64")
    assert xqg(*base, *options).returncode == 0
    shown = xqg("info", "--from", "library", "-c", "c")
    assert "int8; vectors on disk; HNSW m 8, ef_construct 100, ef 64" in shown.stdout
    row = json.loads(xqg("info", "--from", "library", "-c", "c", "--json").stdout)
    assert row["storage"]["quantization"] == "int8"
    done = xqg(*base, "--no-on-disk", "--hnsw-m", "8")
    assert done.returncode == 1
    assert "made with another on_disk (True, now False)" in done.stderr


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--shards", "3"), 1, "shards: the embedded engine is one shard"),
        (("--replication-factor", "2", "--dry-run"), 1, "replication_factor"),
        (("--replication-factor", "1", "--write-consistency-factor", "2"), 1, "confirmed"),
        (("--quantization", "int4"), 2, "'int4' is not one of"),
        (("--oversampling", "1"), 2, "--oversampling"),
        (("--hnsw-m", "-2"), 2, "--hnsw-m"),
        (("--hnsw-ef", "x"), 2, "--hnsw-ef"),
    ],
)
def test_what_cannot_be_is_refused(
    xqg: Run, tmp_path: Path, options: tuple[str, ...], status: int, message: str
) -> None:
    passages, queries = write_corpus(tmp_path, 3)
    done = xqg("ingest", passages, "--queries", queries, "--to", "library", "-c", "c", *options)
    assert done.returncode == status, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "library").exists()
