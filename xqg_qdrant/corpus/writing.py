"""Files that appear whole or not at all."""

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


@contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """A text file that takes its name once it is whole and on the disk.

    Raises:
        InputError: there is no such folder, or it may not be written to.
        StorageError: the disk is full.
    """
    with _replacing(path, "w") as stream:
        yield stream


@contextmanager
def replacing_binary(path: Path) -> Iterator[IO[bytes]]:
    """As :func:`replacing`, for bytes."""
    with _replacing(path, "wb") as stream:
        yield stream


@contextmanager
def _replacing(path: Path, mode: str) -> Iterator[IO[Any]]:
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        if _is_full(error):
            raise _storage_error(path, error) from error
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, mode, **text) as stream:
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
