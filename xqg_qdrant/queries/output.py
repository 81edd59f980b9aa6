"""Files of queries: how a line is written, and files that appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from xqg_qdrant.errors import InputError, StorageError
from xqg_qdrant.records import GeneratedQuery

_DIGITS = 6
"""Of a score, after the point."""


def query_line(query: GeneratedQuery) -> str:
    """A query as :func:`xqg_qdrant.corpus.jsonl.read_queries` reads it, with its line's end."""
    row: dict[str, Any] = {
        "passage_id": query.passage_id,
        "lang": query.lang,
        "text": query.text,
    }
    if query.score is not None:
        row["score"] = round(query.score, _DIGITS)
    return json.dumps(row, ensure_ascii=False) + "\n"


@contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """A text file that takes its name once it is whole and on the disk.

    Raises:
        InputError: there is no such folder, or it may not be written to.
        StorageError: the disk is full.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        if _is_full(error):
            raise _storage_error(path, error) from error
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files that only their owner may read.
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        rename(Path(name), path)
    except OSError as error:
        raise _storage_error(path, error) from error
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def rename(path: Path, target: Path) -> None:
    """Rename, in the place of what was there, and see that the disk knows."""
    path.replace(target)
    if os.name == "posix":  # elsewhere folders cannot be opened
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object so that a reader finds the old file or the new one, whole.

    Raises:
        InputError: there is no such folder, or it may not be written to.
        StorageError: the disk is full.
    """
    with replacing(path) as stream:
        stream.write(json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def _is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def _storage_error(path: Path, error: OSError) -> StorageError:
    return StorageError(f"{path}: cannot be written: {error.strerror}")
