"""Files of the embedded engine's own: documents with checksums, locks, what a folder is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import portalocker

from xqg_qdrant.corpus.jsonl import json_digest, read_json_object
from xqg_qdrant.corpus.writing import rename
from xqg_qdrant.engine.edge_errors import locked
from xqg_qdrant.errors import InputError, StorageError


@contextmanager
def storage_errors(action: str) -> Iterator[None]:
    """Turn errors of the file system into ours."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot {action}: {error.strerror or error}") from error


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with its checksum, for :func:`read_sealed`."""
    return {"sha256": json_digest(value), "value": dict(value)}


def read_sealed(path: Path, name: str, bare: str | None = None) -> dict[str, Any]:
    """The JSON object in a file of ours.

    Args:
        path: of the file.
        name: of the collection.
        bare: a field of objects that had no checksum in earlier releases.

    Raises:
        StorageError: the file was damaged; a flipped bit is enough.
    """
    try:
        row = read_json_object(path)
    except InputError as error:
        raise StorageError(f"{error}. The file is damaged: {build_again(name)}") from None
    if bare in row:
        return row
    value = row.get("value")
    if not isinstance(value, dict) or row.get("sha256") != json_digest(value):
        raise StorageError(
            f"{path}: its checksum does not fit. The file is damaged: {build_again(name)}"
        )
    return value


def build_again(name: str) -> str:
    """What to do with a collection that was damaged."""
    return f"delete the collection ('xqg delete -c {name}') and ingest it again"


def write_atomically(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file so that a reader finds the old one or the new one, whole."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, ensure_ascii=False, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    rename(temporary, path)


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode, None if there is nothing: the same path may lead to another folder."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def require_free(root: Path, name: str, wanted: int) -> None:
    """Check that the disk of a folder, which need not be there yet, has so many bytes free.

    Raises:
        StorageError: it does not, with both figures.
    """
    existing = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    with storage_errors(f"look at the free space of {existing}"):
        free = shutil.disk_usage(existing).free
    if free < wanted:
        raise StorageError(
            f"not enough room at {root}: {free / 2**20:,.0f} MiB are free, collection {name!r} "
            f"needs {wanted / 2**20:,.0f} MiB to go on safely: make room, then run the same again"
        )


def take_lock(path: Path, action: str) -> IO[str]:
    """Lock a file, which is made; for as long as the process lives, or until :func:`let_go`.

    Raises:
        CollectionLocked: another process holds it.
        StorageError: it cannot be made.
    """
    with storage_errors(action):
        lock = path.open("a")
    try:
        portalocker.lock(lock, portalocker.LOCK_EX | portalocker.LOCK_NB)
    except portalocker.LockException:
        lock.close()
        raise locked(action) from None
    return lock


def let_go(lock: IO[str]) -> None:
    """Let go of a lock, also where a forked child has the file too."""
    with suppress(portalocker.LockException):
        portalocker.unlock(lock)
    lock.close()
