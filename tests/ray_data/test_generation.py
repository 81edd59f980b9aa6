"""Queries written by workers: the same, byte for byte, as those of a run on one machine."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.behaviour.conftest import XQG, write_corpus
from tests.ray_data.conftest import long
from xqg_qdrant import Passage, Progress
from xqg_qdrant.corpus.jsonl import read_passages
from xqg_qdrant.errors import PartialGeneration
from xqg_qdrant.models.decoding import Decoding
from xqg_qdrant.models.generator import Generator
from xqg_qdrant.queries import model_source
from xqg_qdrant.queries.generation import generate_queries
from xqg_qdrant.queries.journal import journal_path
from xqg_qdrant.queries.model_source import ModelSource
from xqg_qdrant.ray_data import generation, shards
from xqg_qdrant.ray_data.cluster import Connection, RayCluster
from xqg_qdrant.ray_data.generation import RayModelSource

SHORT = Decoding(top_k=8, max_length=6)
PASSAGES = 400


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    passages, _ = write_corpus(tmp_path_factory.mktemp("corpus"), PASSAGES)
    return passages


@pytest.fixture(scope="module")
def written_here(
    corpus: Path, tiny_generator_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What a run on this machine writes."""
    out = tmp_path_factory.mktemp("here") / "q.jsonl"
    source = ModelSource(Generator.load(tiny_generator_folder, threads=1), decoding=SHORT)
    generate_queries(read_passages(corpus), source, out)
    return out


def same(one: Path, other: Path) -> bool:
    return all(
        (one.parent / f"{one.name}{end}").read_bytes()
        == (other.parent / f"{other.name}{end}").read_bytes()
        for end in ("", ".meta.json")
    )


def test_a_killed_run_goes_on_and_ends_the_same(
    corpus: Path,
    written_here: Path,
    tiny_generator_folder: Path,
    ray_address: str,
    tmp_path: Path,
) -> None:
    out = tmp_path / "q.jsonl"
    settings = ("--top-k", "8", "--max-length", "6", "-o", str(out), "-q")
    with subprocess.Popen(
        [
            *(*XQG, "generate", str(corpus), "--model", str(tiny_generator_folder)),
            *("--ray", ray_address, "--ray-workers", "1", *settings),
        ],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None:
            journal = journal_path(out)
            if journal.exists() and json.loads(journal.read_text())["done"]:
                process.kill()
                break
            time.sleep(0.02)
        _, told = process.communicate()
    assert process.returncode == -signal.SIGKILL, told
    assert not out.exists()
    cluster = RayCluster(ray_address, quiet=True)
    with RayModelSource(tiny_generator_folder, cluster=cluster, decoding=SHORT) as source:
        report = generate_queries(read_passages(corpus), source, out)
    assert 0 < report.resumed_at < PASSAGES
    assert same(out, written_here)


@pytest.fixture
def rounds_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of ten passages, and windows and rounds of two shards a worker."""
    monkeypatch.setattr(model_source, "_WINDOW_PROMPTS", 20)
    monkeypatch.setattr(shards, "SHARDS_PER_WORKER", 2)
    monkeypatch.setattr(generation, "SHARDS_PER_WORKER", 2)


def stop_after(number: int) -> Callable[[Progress], None]:
    def show(progress: Progress) -> None:
        if progress.stage == "generating" and progress.done >= number:
            raise KeyboardInterrupt

    return show


@long
@pytest.mark.usefixtures("rounds_of_four")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("ray_first", [True, False])
def test_a_run_begun_there_ends_here_and_the_other_way(
    corpus: Path,
    tiny_generators: dict[str, Path],
    connection: Connection,
    tmp_path: Path,
    precision: str,
    ray_first: bool,
) -> None:
    rows = list(read_passages(corpus))[:95]
    folder = tiny_generators[precision]

    def here() -> ModelSource:
        return ModelSource(Generator.load(folder, threads=1), decoding=SHORT)

    def there() -> ModelSource:
        return RayModelSource(folder, cluster=connection.cluster, decoding=SHORT)

    first, second = (there, here) if ray_first else (here, there)
    out = tmp_path / "q.jsonl"
    with first() as source, pytest.raises(KeyboardInterrupt):
        generate_queries(rows, source, out, progress=stop_after(33))
    with second() as source:
        report = generate_queries(rows, source, out)
    assert 33 <= report.resumed_at < 95
    with here() as source:
        generate_queries(rows, source, tmp_path / "whole")
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_model_that_is_not_on_the_nodes(
    tiny_generator_folder: Path, connection: Connection, tmp_path: Path
) -> None:
    folder = tmp_path / "moved-away"
    shutil.copytree(tiny_generator_folder, folder)
    source = RayModelSource(folder, cluster=connection.cluster, decoding=SHORT)
    folder.rename(tmp_path / "elsewhere")
    rows: Iterator[tuple[str, Passage]] = iter([("", Passage("a", "River."))])
    with pytest.raises(PartialGeneration) as caught:
        generate_queries(rows, source, tmp_path / "q.jsonl")
    message = str(caught.value)
    assert "a worker on node" in message
    assert f"no model folder {folder}: it must be at the same path on every node" in message
    assert "0 of 1 passages" in message
