"""Fetching data sets: to temporary files that take their names once they are whole and right."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from xqg_qdrant.corpus.catalogue import DataSet, RemoteFile
from xqg_qdrant.corpus.writing import replacing_binary
from xqg_qdrant.errors import FetchError, InputError, StorageError
from xqg_qdrant.records import Progress

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS = 30.0
_BLOCK = 1 << 20
_MOST_PACKED = 100
_ANY_BYTES = 2**27


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is there now.

    Attributes:
        path: where.
        url: where it came from.
        bytes: its size.
        sha256: of its contents.
        kept: it was there already.
    """

    path: Path
    url: str
    bytes: int
    sha256: str
    kept: bool


def fetch(
    data: DataSet,
    folder: Path,
    *,
    force: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> list[Fetched]:
    """Fetch the files of a data set.

    Files that are there are kept, once checked against their digest where one is known.

    Args:
        data: what to fetch.
        folder: where to; it is made.
        force: fetch what is there anew.
        progress: called with the bytes of each file.

    Raises:
        InputError: this data set is fetched in another way, or a file there is another one.
        FetchError: there is no network, the server refuses, or what came is not the file.
        StorageError: it cannot be written.
    """
    if not data.files:
        raise InputError(f"{data.name} is fetched in another way: {data.fetch}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror}") from None
    done = [_fetch_file(each, folder, force, progress) for each in data.files]
    for file, fetched in zip(data.files, done, strict=True):
        if file.unpack:
            _unpack(fetched.path)
    return done


def _fetch_file(
    file: RemoteFile,
    folder: Path,
    force: bool,
    progress: Callable[[Progress], None] | None,
) -> Fetched:
    import httpx

    path = folder / file.path
    if path.is_file() and not force:
        sha256 = _digest(path, "sha256")
        _check(file, path, f"{path} is another file: delete it, or give --force")
        return Fetched(path, file.url, path.stat().st_size, sha256, kept=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    host = urlsplit(file.url).netloc
    with _explained(file, path, host), replacing_binary(path) as stream:
        digest, known = hashlib.sha256(), _hasher(file)
        size = 0
        with (
            httpx.Client(follow_redirects=True, timeout=TIMEOUT_SECONDS) as client,
            client.stream("GET", file.url) as response,
        ):
            response.raise_for_status()
            total = int(response.headers.get("content-length", 0))
            for block in response.iter_bytes(_BLOCK):
                stream.write(block)
                digest.update(block)
                if known is not None:
                    known.update(block)
                size += len(block)
                if progress is not None:
                    progress(Progress(f"fetching {file.path}", size, max(total, size)))
        if known is not None and known.hexdigest() != file.digest.partition(":")[2]:
            raise FetchError(
                f"{file.url}: what came is not the file that upstream describes (its digest is not "
                f"{file.digest}): nothing was kept"
            )
    return Fetched(path, file.url, size, digest.hexdigest(), kept=False)


@contextmanager
def _explained(file: RemoteFile, path: Path, host: str) -> Iterator[None]:
    import httpx

    by_hand = f"fetch it elsewhere, and put it at {path}: curl -L -o {path.name} {file.url}"
    try:
        yield
    except httpx.HTTPStatusError as error:
        raise FetchError(
            f"{file.url}: {host} answers {_status(error.response)}: it may have moved, see the "
            "data set's source in 'xqg data list'"
        ) from None
    except httpx.TransportError as error:
        reason = str(error) or type(error).__name__
        raise FetchError(
            f"cannot reach {host} ({reason}): is there a network? Else {by_hand}"
        ) from None


def _status(response: httpx.Response) -> str:
    return f"{response.status_code} {response.reason_phrase}".strip()


def _hasher(file: RemoteFile) -> Any:
    """The hash that upstream's digest is of; None where there is none."""
    kind = file.digest.partition(":")[0]
    return hashlib.new(kind, usedforsecurity=False) if kind else None


def _check(file: RemoteFile, path: Path, message: str) -> None:
    kind, _, expected = file.digest.partition(":")
    if kind and _digest(path, kind) != expected:
        raise InputError(message)


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(
            stream, lambda: hashlib.new(kind, usedforsecurity=False)
        ).hexdigest()


def _unpack(path: Path) -> None:
    """Unpack an archive beside itself; names that lead elsewhere are refused."""
    folder = path.parent.resolve()
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if not (folder / name).resolve().is_relative_to(folder):
                    raise FetchError(
                        f"{path}: holds {name!r}, which lies outside: nothing unpacked"
                    )
            unpacked = sum(each.file_size for each in archive.infolist())
            if unpacked > max(_MOST_PACKED * path.stat().st_size, _ANY_BYTES):
                raise FetchError(
                    f"{path}: holds {unpacked / 2**20:,.0f} MiB, {_MOST_PACKED} times its own size "
                    "and more: no data set is packed so, nothing unpacked"
                )
            archive.extractall(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise FetchError(f"{path}: cannot be unpacked: {error}") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be unpacked: {error.strerror or error}") from None
