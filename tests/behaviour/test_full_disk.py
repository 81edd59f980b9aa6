"""A disk that fills up while loading: an error in time, nothing lost, the same points later."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.behaviour.conftest import write_corpus
from xqg_qdrant import Client, Encoder, PartialIngest, Progress, StorageError
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.edge import EdgeEngine


def _dump(engine: Engine) -> list[tuple[str, object, dict[str, bytes]]]:
    return [
        (point.id, point.payload, {key: each.tobytes() for key, each in point.vectors.items()})
        for point in engine.scroll("c", with_vectors=True)
    ]


def test_a_disk_that_fills_up_while_loading(
    small_disk: Path, tiny_encoder: Encoder, tmp_path: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,size=300m", str(small_disk)], check=True)
    passages, queries = write_corpus(tmp_path, 400)
    filler = small_disk / "filler"

    def fill(progress: Progress) -> None:
        if progress.done >= 128 and not filler.exists():
            with filler.open("wb") as stream:
                os.posix_fallocate(stream.fileno(), 0, 200 * 2**20)

    with EdgeEngine(small_disk / "root") as engine:
        client = Client(engine, encoder=tiny_encoder)
        with pytest.raises(PartialIngest, match="not enough room") as caught:
            client.ingest("c", passages, queries, batch_size=64, progress=fill)
        assert (caught.value.done, caught.value.total) == (128, 400)
        with pytest.raises(StorageError, match="not enough room"):
            client.ingest("c", passages, queries, batch_size=64)
        assert client.search("c", "mto mlima", lang="sw")
        filler.unlink()
        assert client.ingest("c", passages, queries, batch_size=64).resumed_at == 128
        found = _dump(engine)
    with EdgeEngine(tmp_path / "whole") as engine:
        Client(engine, encoder=tiny_encoder).ingest("c", passages, queries, batch_size=64)
        assert _dump(engine) == found
