"""What an operator does with whole collections: back up, restore, copy, undo a replacement."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.names import check_collection_name
from xqg_qdrant.errors import InputError
from xqg_qdrant.loader.backup import BackupReport, BackupSource, check_target, write_backup
from xqg_qdrant.loader.copying import CollectionSource, CopyReport, copy
from xqg_qdrant.loader.replacing import rollback, set_alias
from xqg_qdrant.records import Progress

if TYPE_CHECKING:
    from xqg_qdrant.client import Client

Telling = Callable[[Progress], None] | None


class Operations:
    """The part of :class:`Client` that works on whole collections."""

    _engine: Engine
    _forgetting: Callable[[str], AbstractContextManager[None]]

    def rollback(self, collection: str) -> None:
        """Let a name stand again for what it stood for before ``ingest(..., replace=True)``.

        NAME and NAME.previous change places, in one step; again, and they change back.

        Raises:
            CollectionNotFound: there is no NAME.previous.
        """
        with self._forgetting(collection):
            rollback(self._engine, collection)

    def alias(self, alias: str, collection: str) -> None:
        """Let one more name stand for a collection.

        Raises:
            CollectionNotFound: there is no such collection.
            CollectionExists: the name stands for another one, or is one.
        """
        with self._forgetting(alias):
            set_alias(self._engine, alias, collection)

    def backup(
        self,
        collection: str,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        native: bool = False,
        progress: Telling = None,
    ) -> BackupReport:
        """Write a collection to a file that every engine can restore, whole or not at all.

        Args:
            collection: its name.
            path: of the file; in a folder, it is named after the collection.
            overwrite: replace a file that is there.
            native: write a server's own snapshot instead, which servers alone can restore.
            progress: called now and then.

        Raises:
            CollectionNotFound: there is no such collection.
            CollectionMismatch: xqg-qdrant did not make it.
            InputError: the file exists, or cannot be written there.
            StorageError: the disk is full.
        """
        if native:
            from xqg_qdrant.loader import native as own

            target = check_target(Path(path), collection, overwrite=overwrite, suffix=own.SUFFIX)
            return own.download_snapshot(self._engine, collection, target, progress)
        target = check_target(Path(path), collection, overwrite=overwrite)
        return write_backup(CollectionSource(self._engine, collection), target, progress)

    def restore(
        self,
        path: str | os.PathLike[str],
        collection: str,
        *,
        replace: bool = False,
        drop_previous: bool = False,
        restart: bool = False,
        native: bool = False,
        progress: Telling = None,
    ) -> CopyReport:
        """Make a collection from a file that :meth:`backup` wrote; the file is checked first.

        Args:
            path: of the file.
            collection: the name that it is to have, once it is whole.
            replace: let it take the name of what is there, which is kept as NAME.previous.
            drop_previous: with ``replace``: destroy a NAME.previous of before.
            restart: begin a restore that was cut off again.
            native: the file is a server's own snapshot, and this is a server.
            progress: called now and then.

        Raises:
            InputError: the file is no backup, or damaged.
            CollectionExists: there is another collection of that name.
            PartialIngest: the engine failed on the way; the same call goes on.
        """
        check_collection_name(collection)  # before a large file is read
        with self._forgetting(collection):
            if native:
                from xqg_qdrant.loader.native import upload_snapshot

                return upload_snapshot(
                    Path(path),
                    self._engine,
                    collection,
                    replace=replace,
                    drop_previous=drop_previous,
                    restart=restart,
                )
            return copy(
                BackupSource(Path(path), progress),
                self._engine,
                collection,
                replace=replace,
                drop_previous=drop_previous,
                restart=restart,
                progress=progress,
            )

    def push(
        self,
        collection: str,
        to: Client,
        *,
        name: str | None = None,
        replace: bool = False,
        drop_previous: bool = False,
        restart: bool = False,
        progress: Telling = None,
    ) -> CopyReport:
        """Copy a collection to another place, points with vectors, payloads and all kept beside.

        Args:
            collection: its name here.
            to: the client of the other place, or this one.
            name: of the copy; the same when None.
            replace: let it take the name of what is there, which is kept as NAME.previous.
            drop_previous: with ``replace``: destroy a NAME.previous of before.
            restart: begin a copy that was cut off again.
            progress: called after every batch.

        Raises:
            CollectionNotFound: there is no such collection here.
            CollectionExists: there is another collection of that name there.
            PartialIngest: an engine failed on the way; the same call goes on.
        """
        if not isinstance(to, Operations):
            raise InputError(f"to is a {type(to).__name__}: give a Client of the other place")
        target = check_collection_name(collection if name is None else name)
        with to._forgetting(target):
            return copy(
                CollectionSource(self._engine, collection),
                to._engine,
                target,
                replace=replace,
                drop_previous=drop_previous,
                restart=restart,
                progress=progress,
            )
