"""Backups in a Qdrant server's own form, for that server: with graphs and indexes, not rebuilt."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.snapshots import Snapshots
from xqg_qdrant.errors import CollectionExists, CollectionMismatch, InputError
from xqg_qdrant.loader.backup import BackupReport
from xqg_qdrant.loader.copying import CopyReport
from xqg_qdrant.loader.documents import BUILD, read_manifest
from xqg_qdrant.loader.replacing import Replacement, check_flags
from xqg_qdrant.records import Progress

SUFFIX = ".snapshot"


def download_snapshot(
    engine: Engine, name: str, path: Path, progress: Callable[[Progress], None] | None = None
) -> BackupReport:
    """Write a server's snapshot of a collection to a file; see :class:`Snapshots`.

    Raises:
        CollectionNotFound: there is no such collection.
        CollectionMismatch: xqg-qdrant did not make it.
        InputError: the engine is no server.
        EngineError: the server refused, or what came is not what it made.
    """
    with Snapshots(engine) as snapshots:
        engine.require(name)
        real = engine.resolve(name)
        read_manifest(engine, real)
        points = engine.count(real)
        digest = snapshots.download(
            real,
            path,
            None
            if progress is None
            else lambda done, total: progress(Progress("fetching snapshot", done, total)),
        )
    source = f"collection {name!r} at {engine.location}"
    return BackupReport(str(path), source, points, path.stat().st_size, digest)


def upload_snapshot(
    path: Path,
    engine: Engine,
    name: str,
    *,
    replace: bool = False,
    drop_previous: bool = False,
    restart: bool = False,
) -> CopyReport:
    """Make a collection from a server's snapshot; it takes its name once it is there.

    Raises:
        CollectionExists: there is one of that name, and ``replace`` was not given.
        CollectionMismatch: the snapshot is of a collection that xqg-qdrant did not make.
        InputError: the engine is no server, or the file cannot be read.
        EngineError: the server refused.
    """
    began = time.monotonic()
    check_flags(replace=replace, drop_previous=drop_previous)
    with Snapshots(engine) as snapshots:
        if engine.exists(name) and not replace:
            raise CollectionExists(
                f"collection {name!r} at {engine.location} exists already: restore under another "
                "name, or let it take this one with --replace (replace=True)"
            )
        digest = _digest(path)
        plan = Replacement.plan(
            engine,
            name,
            f"snapshot:{digest}",
            lambda live: False,
            restart=restart,
            drop_previous=drop_previous,
        )
        snapshots.upload(path, plan.target, digest)
    try:
        read_manifest(engine, plan.target)
    except CollectionMismatch:
        engine.delete(plan.target)
        raise
    engine.write_document(plan.target, BUILD, plan.documents[BUILD])
    points = engine.count(plan.target)
    previous = plan.swap()
    return CopyReport(
        name, engine.location, f"snapshot {path}", points, 0, previous, time.monotonic() - began
    )


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
