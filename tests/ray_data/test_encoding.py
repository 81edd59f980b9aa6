"""Vectors made by workers: the same, to the last bit, as those made here."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.behaviour.conftest import XQG, Run, write_corpus
from tests.behaviour.conftest import environment as environment
from tests.behaviour.conftest import xqg as xqg
from tests.ray_data.conftest import long
from xqg_qdrant import Client, Encoder
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.engine.vectors import AnyVector
from xqg_qdrant.errors import ModelError, PartialIngest
from xqg_qdrant.lexical import SparseVector
from xqg_qdrant.ray_data import shards
from xqg_qdrant.ray_data.cluster import Connection
from xqg_qdrant.ray_data.models import NodeModel

NUMBER = 100


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_corpus(tmp_path_factory.mktemp("corpus"), NUMBER)


def dump(folder: Path) -> list[tuple[str, Any, dict[str, Any]]]:
    with EdgeEngine(folder) as engine:
        return [
            (point.id, point.payload, {key: bits(each) for key, each in point.vectors.items()})
            for point in engine.scroll("c", with_vectors=True)
        ]


def bits(vector: AnyVector) -> Any:
    if isinstance(vector, SparseVector):
        return vector.indices.tobytes(), vector.values.tobytes()
    return vector.tobytes()


def test_the_same_collection(
    corpus: tuple[Path, Path],
    tiny_encoder: Encoder,
    connection: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shards, "SHARDS_PER_WORKER", 3)  # 100 passages by 10 are two rounds
    reports = []
    for name, ray in (("here", None), ("there", connection.cluster)):
        with Client(tmp_path / name, encoder=tiny_encoder) as client:
            report = client.ingest("c", *corpus, batch_size=10, hybrid=True, ray=ray)
            reports.append((report.points, report.truncated_passages, report.truncated_queries))
    assert reports[0] == reports[1] == (NUMBER, NUMBER, 0)
    assert dump(tmp_path / "here") == dump(tmp_path / "there")


def test_what_is_in_stays_in_when_a_worker_fails(
    corpus: tuple[Path, Path],
    connection: Connection,
    tiny_folder: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    encoder = Encoder.load(folder, threads=1)
    (folder / "model.onnx").write_bytes(b"damaged since")
    with Client(tmp_path / "c", encoder=encoder) as client:
        with pytest.raises(PartialIngest) as caught:
            client.ingest("c", *corpus, ray=connection.cluster)
        assert "a worker on node" in str(caught.value)
        assert "model.onnx" in str(caught.value)
        assert f"0 of {NUMBER} passages" in str(caught.value)
        assert client.ingest("c", *corpus).points == NUMBER


def test_a_dry_run_needs_no_cluster(
    corpus: tuple[Path, Path], tiny_encoder: Encoder, tmp_path: Path
) -> None:
    with Client(tmp_path / "c", encoder=tiny_encoder) as client:
        assert client.ingest("c", *corpus, ray="127.0.0.1:1", dry_run=True).passages == NUMBER


def test_models_are_found_by_name_where_the_path_differs(
    tiny_folder: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = NodeModel("/nowhere/tiny", tiny_encoder.fingerprint)
    with pytest.raises(ModelError, match="no model folder /nowhere/tiny: it must be at the same"):
        model.find()
    monkeypatch.setenv("XQG_MODELS", str(tiny_folder.parent))
    assert model.find() == tiny_folder
    model.check(tiny_encoder.manifest)
    with pytest.raises(ModelError, match="holds another model"):
        NodeModel("/nowhere/tiny", "0" * 64).check(tiny_encoder.manifest)


def test_a_local_cluster_of_its_own(
    xqg: Run, corpus: tuple[Path, Path], tiny_encoder: Encoder, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="needs the ray extra")
    passages, queries = corpus
    arguments = ("ingest", passages, "--queries", queries, "-c", "c", "-q")
    done = xqg(*arguments, "--to", "there", "--ray", "--ray-workers", "1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("Warning: 100 passages were longer"), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    with Client(tmp_path / "here", encoder=tiny_encoder) as client:
        client.ingest("c", *corpus)
    assert dump(tmp_path / "here") == dump(tmp_path / "there")


@long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_stopped_ingest_goes_on(
    xqg: Run,
    ray_address: str,
    environment: dict[str, str],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    passages, queries = write_corpus(tmp_path, 2_000)
    arguments = ("ingest", str(passages), "--queries", str(queries), "-c", "c")
    arguments += ("--batch-size", "8", "--to", "there", "--ray", ray_address)
    with subprocess.Popen(
        [*XQG, *arguments], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        told = ""
        while "Loading:" not in told or " 0/2000" in told.rsplit("Loading:", 1)[-1]:
            letter = process.stderr.read(1)
            assert letter, told
            told += letter
        process.send_signal(number)
        _, rest = process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 1, rest
        assert "run the same command again to go on" in rest
        assert "Traceback" not in rest
    done = xqg(*arguments, "-q")
    assert done.returncode == 0, done.stderr
    here = ("ingest", passages, "--queries", queries, "-c", "c", "--batch-size", "8", "-q")
    assert xqg(*here, "--to", "here").returncode == 0
    assert dump(tmp_path / "here") == dump(tmp_path / "there")
