"""Optimising an embedded collection in a process of its own.

Qdrant Edge holds the GIL for the whole of a call, and building HNSW graphs takes minutes: in this
process all other threads would stand still. The child is started as a plain command, not by
``multiprocessing``, so that scripts without a ``__main__`` guard work. It dies with this process
where the system can see to that (Linux); elsewhere it finishes its work, and the collection is
locked meanwhile.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from xqg_qdrant.engine.edge_errors import guarded
from xqg_qdrant.engine.edge_models import from_description, to_config, to_description
from xqg_qdrant.engine.storage import Storage
from xqg_qdrant.engine.vectors import Shape
from xqg_qdrant.errors import CollectionLocked, EngineError, StorageError, XqgError

_COMMAND = (
    "import json, sys; job = json.load(sys.stdin); sys.path[:] = job['path']; "
    "from xqg_qdrant.engine.optimizing import serve; serve(job)"
)
_ERRORS: dict[str, type[XqgError]] = {
    error.__name__: error for error in (EngineError, StorageError, CollectionLocked)
}
_PYTHON = re.compile(r"python|pypy", re.IGNORECASE)
_REASONS: Mapping[int, str] = {
    signal.SIGKILL: ", by want of memory perhaps",
    signal.SIGBUS: ", since the disk is full",
}
_PR_SET_PDEATHSIG = 1
_TOLD = 500


def allocated_bytes(folder: Path) -> int:
    """What the files of a folder take on disk."""
    return sum(path.stat().st_blocks for path in folder.rglob("*")) * 512


def has_much_to_index(shard: Path, storage: Storage) -> bool:
    """Whether any named vector has so much data that a graph may be built for it."""
    sizes: Counter[str] = Counter()
    for folder in shard.glob("segments/*/vector_storage*"):
        sizes[folder.name] += allocated_bytes(folder)
    return max(sizes.values(), default=0) >= 1_000 * (storage.indexing_threshold or 0)


def can_spawn() -> bool:
    """Whether there is a Python to start; not in frozen applications, nor where C embeds it."""
    name = Path(sys.executable or "").name
    return bool(_PYTHON.search(name)) and not getattr(sys, "frozen", False)


def optimize_here(shard: Path, shape: Shape, storage: Storage, *, quantized: bool) -> None:
    """Optimise a shard that nobody has open, in this process; see :func:`optimize_apart`."""
    with guarded(f"optimise {shard}"):
        # The configuration is kept: a shard of "auto" is quantised from now on.
        opened = edge.EdgeShard.load(str(shard), to_config(shape, storage, quantized=quantized))
        for left in (shard / "temp_segments").glob("segment_builder_*"):
            shutil.rmtree(left, ignore_errors=True)  # by a process that was killed
        opened.optimize()
        opened.flush()
        opened.close()


def optimize_apart(shard: Path, shape: Shape, storage: Storage, *, quantized: bool) -> None:
    """Optimise a shard that nobody has open, in a process of its own, and wait for it.

    Args:
        shard: its folder.
        shape: of its vectors.
        storage: its settings.
        quantized: whether dense vectors are to be quantised.

    Raises:
        EngineError, StorageError, CollectionLocked: as the engine says, or the process was killed;
            the shard can be opened and optimised again.
    """
    job = {
        "path": [os.fspath(each) for each in sys.path],
        "parent": os.getpid(),
        "shard": str(shard.absolute()),
        "shape": to_description(shape),
        "storage": storage.to_json(),
        "quantized": quantized,
    }
    with subprocess.Popen(  # noqa: S603 (this very Python)
        [sys.executable, "-c", _COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        try:
            told, noise = process.communicate(json.dumps(job))
        except BaseException:  # Ctrl-C: the shard is whole at any moment
            process.kill()
            raise
    if process.returncode == 0:
        return
    again = f"collection at {shard.parent} is as it was: run the same again"
    if process.returncode < 0:
        number = -process.returncode
        why = _REASONS.get(number, "")
        raise EngineError(
            f"the process that optimised was ended by signal {number} "
            f"({signal.strsignal(number)}){why}; the {again}"
        )
    try:
        row = json.loads(told)
        raise _ERRORS[row["error"]](row["message"])
    except (ValueError, KeyError, TypeError):
        raise EngineError(
            f"the process that optimised failed with status {process.returncode}: "
            f"{noise.strip()[-_TOLD:] or 'it said nothing'}; the {again}"
        ) from None


def serve(job: Mapping[str, Any]) -> None:
    """Do a job in the child process; its errors go to standard output as JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the parent decides
    _die_with(job["parent"])
    shape, storage = from_description(job["shape"]), Storage(**job["storage"])
    try:
        optimize_here(Path(job["shard"]), shape, storage, quantized=job["quantized"])
    except XqgError as error:
        kind = type(error) if type(error) in _ERRORS.values() else EngineError
        print(json.dumps({"error": kind.__name__, "message": str(error)}))
        sys.exit(1)


def _die_with(parent: int) -> None:
    """Have the system end this process when the parent ends: Edge lets no Python code see to it."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)
