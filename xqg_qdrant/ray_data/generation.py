"""Generating on a Ray cluster: a source whose queries are written by workers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xqg_qdrant.models.decoding import Decoding
from xqg_qdrant.models.generator import Generator
from xqg_qdrant.models.manifest import GeneratorManifest, find_model, read_generator_manifest
from xqg_qdrant.queries.model_source import BATCH_SIZE, PER_LANGUAGE, ModelSource
from xqg_qdrant.queries.source import Tally, Written
from xqg_qdrant.ray_data.cluster import Connection, RayCluster
from xqg_qdrant.ray_data.models import NodeModel
from xqg_qdrant.ray_data.shards import SHARDS_PER_WORKER, Do, run_shards, versions_of
from xqg_qdrant.records import GeneratedQuery, Passage

_MAX_WINDOW = 65_536
"""Passages that are held at a time, at most."""


class RayModelSource(ModelSource):
    """A generator's queries, written by the workers of a Ray cluster.

    A shard is what :class:`~xqg_qdrant.queries.model_source.ModelSource` takes for a window, so
    what is written is the same, and a run may be begun here and ended there. Close it.

    Args:
        name_or_folder: of the generator; every node must have it at the same path, or under the
            same name.
        cluster: where the workers are.
        languages: as there.
        per_language: as there.
        decoding: as there.
        prompt: as there.
        batch_size: as there.

    Raises:
        InputError: an argument is wrong, Ray is not installed, or no node has so many CPUs.
        ModelError: the model folder is missing, damaged or no generator.
        RayError: the cluster cannot be reached; from :meth:`write`: workers failed.
    """

    whole_windows = False

    def __init__(
        self,
        name_or_folder: str | Path,
        *,
        cluster: RayCluster,
        languages: Sequence[str] = (),
        per_language: int = PER_LANGUAGE,
        decoding: Decoding | None = None,
        prompt: str | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        manifest = read_generator_manifest(find_model(name_or_folder))
        manifest.verify_files()
        super().__init__(
            _Described(manifest),
            languages=languages,
            per_language=per_language,
            decoding=decoding,
            prompt=prompt,
            batch_size=batch_size,
        )
        self._work = _Generate(
            NodeModel.of(manifest),
            {
                "languages": self.languages,
                "per_language": per_language,
                "decoding": self._decoding,
                "prompt": self._prompt,
                "batch_size": batch_size,
            },
            versions_of(*self.versions()),
        )
        self._shard = self.window
        self._connection = Connection.open(cluster)
        self.window = min(self._shard * SHARDS_PER_WORKER * self._connection.workers, _MAX_WINDOW)

    def write(self, passages: Sequence[Passage]) -> Iterator[Written]:
        """Have the queries of these passages written, shard by shard."""
        shards = [
            passages[start : start + self._shard] for start in range(0, len(passages), self._shard)
        ]
        results = run_shards(self._connection, self._work, map(_packed_passages, shards))
        for shard, result in zip(shards, results, strict=True):
            for passage, (queries, tally) in zip(shard, json.loads(result), strict=True):
                yield Written(
                    [GeneratedQuery(passage.id, *query) for query in queries],
                    Tally.from_json(tally),
                )

    def close(self) -> None:
        """Let go of the cluster; a local one stops."""
        self._connection.close()


class _Described(Generator):
    """A generator known by its manifest; its graphs are opened on the workers alone."""

    def __init__(self, manifest: GeneratorManifest) -> None:
        self.manifest = manifest


@dataclass(frozen=True)
class _Generate:
    """What a worker does with passages."""

    model: NodeModel
    settings: dict[str, Any]
    versions: dict[str, str]

    def start(self, threads: int) -> Do:
        generator = Generator.load(self.model.find(), threads=threads)
        self.model.check(generator.manifest)
        source = ModelSource(generator, **self.settings)

        def generate(shard: bytes) -> bytes:
            passages = [Passage(*row) for row in json.loads(shard)]
            return json.dumps(
                [
                    ([(each.lang, each.text, each.score) for each in queries], tally.to_json())
                    for queries, tally in source.write(passages)
                ]
            ).encode()

        return generate


def _packed_passages(passages: Sequence[Passage]) -> bytes:
    rows = [(each.id, each.text, each.title, each.lang) for each in passages]
    return json.dumps(rows).encode()
