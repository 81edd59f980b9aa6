"""Writing files so that nobody ever finds half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from xqg_qdrant.errors import InputError, StorageError


@contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """A text file, UTF-8, that takes its name once it is whole.

    Raises:
        InputError: no file can be made there.
        StorageError: it cannot be written to its end.
    """
    with _temporary(path) as (handle, name):
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            yield stream
        _publish(name, path)


@contextmanager
def replacing_binary(path: Path) -> Iterator[IO[bytes]]:
    """As :func:`replacing`, for bytes."""
    with _temporary(path) as (handle, name):
        with os.fdopen(handle, "wb") as stream:
            yield stream
        _publish(name, path)


@contextmanager
def _temporary(path: Path) -> Iterator[tuple[int, str]]:
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        yield handle, name
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _publish(name: str, path: Path) -> None:
    # mkstemp makes files that only their owner may read.
    mask = os.umask(0)
    os.umask(mask)
    Path(name).chmod(0o666 & ~mask)
    Path(name).replace(path)
