"""Shards of work through Ray Data: to a pool of actors, and back in order."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from xqg_qdrant.errors import ModelError, RayError, XqgError
from xqg_qdrant.ray_data.cluster import Connection
from xqg_qdrant.ray_data.failures import died, in_words

if TYPE_CHECKING:
    from pyarrow import Table

SHARDS_PER_WORKER = 64
"""In a round: for each, Ray starts the workers anew, and each loads its model."""

ROUND_BYTES = 64 * 2**20
"""Of the shards of a round, which lie in the memory of the cluster."""

RETRIES = 3
"""Of a worker that died, in a round, and of the shard that it had."""

log = logging.getLogger(__name__)

Do = Callable[[bytes], bytes]


class Work(Protocol):
    """What workers do; it is sent to them."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Of the libraries that results hang on, by name: workers must have the same."""
        ...

    def start(self, threads: int) -> Do:
        """On a worker: load the model, and return what makes a result of a shard.

        Raises:
            XqgError: it cannot.
        """
        ...


def run_shards(connection: Connection, work: Work, shards: Iterable[bytes]) -> Iterator[bytes]:
    """Do the work on every shard.

    Args:
        connection: to the cluster.
        work: what is done.
        shards: read a round ahead, which is ``SHARDS_PER_WORKER`` a worker or ``ROUND_BYTES``.

    Yields:
        The result of each shard, in their order.

    Raises:
        RayError: a worker could not do its work, or died once more than ``RETRIES`` times;
            results before it have been yielded.
    """
    number = 0
    for each in _rounds(shards, most=SHARDS_PER_WORKER * connection.workers):
        for result in _run_round(connection, work, each, first=number):
            yield result
            number += 1


def _rounds(shards: Iterable[bytes], *, most: int) -> Iterator[list[bytes]]:
    held: list[bytes] = []
    size = 0
    for shard in shards:
        held.append(shard)
        size += len(shard)
        if len(held) == most or size >= ROUND_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held


def _run_round(
    connection: Connection, work: Work, shards: list[bytes], *, first: int
) -> Iterator[bytes]:
    import ray.data

    expected = range(first, first + len(shards))
    rows = [
        {"number": number, "shard": shard} for number, shard in zip(expected, shards, strict=True)
    ]
    with _failures(connection), warnings.catch_warnings():
        # Without these two bounds it would retry for ever, and it has no other place for them.
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Worker,
            fn_constructor_args=(work, connection.threads),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(connection.workers, len(rows))),
            num_cpus=connection.threads,
            max_restarts=RETRIES,
            max_task_retries=RETRIES,
        )
        dataset.context.execution_options.preserve_order = True
        dataset.context.enable_progress_bars = False
        results = iter(dataset.iter_rows())
    for number in expected:
        with _failures(connection):
            row = next(results, None)
        if row is not None and row["error"] is not None:
            raise RayError(row["error"])
        if row is None or row["number"] != number:
            raise RayError(f"the Ray cluster at {connection.cluster.address} lost shard {number}")
        yield row["result"]


@contextlib.contextmanager
def _failures(connection: Connection) -> Iterator[None]:
    """Turn whatever Ray raises into our error."""
    address = connection.cluster.address
    try:
        yield
    except Exception as error:
        if died(error):
            raise RayError(
                f"a worker of the Ray cluster at {address} died {1 + RETRIES} times "
                f"({in_words(error)}): out of memory most likely, since each loads a model of its "
                "own; give fewer --ray-workers, or more --threads for each"
            ) from error
        raise RayError(f"the Ray cluster at {address} failed: {in_words(error)}") from error


class _Worker:
    """An actor of the pool. It says what went wrong as data: Ray would retry, or wrap it."""

    def __init__(self, work: Work, threads: int) -> None:
        os.environ.setdefault("RAYON_NUM_THREADS", str(threads))  # of tokenizers
        self._work = work
        self._threads = threads
        self._do: Do | None = None

    def __call__(self, batch: Table) -> Table:
        import pyarrow as pa

        [row] = batch.to_pylist()
        result = error = None
        try:
            if self._do is None:
                _require_versions(self._work.versions)
                self._do = self._work.start(self._threads)
            result = self._do(row["shard"])
        except XqgError as known:
            error = str(known)
        except Exception as unknown:
            log.exception("shard %d", row["number"])
            error = f"{type(unknown).__name__}: {unknown}"
        schema = pa.schema(
            {"number": pa.int64(), "result": pa.large_binary(), "error": pa.string()}
        )
        where = None if error is None else f"a worker on node {socket.gethostname()}: {error}"
        columns: dict[str, Any] = {"number": [row["number"]], "result": [result], "error": [where]}
        return pa.table(columns, schema=schema)


def versions_of(*libraries: str) -> dict[str, str]:
    """Versions of these libraries, and of this package, by name."""
    from importlib.metadata import version

    from xqg_qdrant import __version__

    return {"xqg-qdrant": __version__, **{name: version(name) for name in libraries}}


def _require_versions(wanted: Mapping[str, str]) -> None:
    found = versions_of(*(name for name in wanted if name != "xqg-qdrant"))
    differing = [
        f"{name} {found[name]} (here {version})"
        for name, version in wanted.items()
        if found[name] != version
    ]
    if differing:
        raise ModelError(f"it has {', '.join(differing)}: install the same versions on every node")
