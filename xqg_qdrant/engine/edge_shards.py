"""The shards of the embedded engine that are open, each locked against other processes.

What was written must reach the disk where others will look for it, and a shard that panicked, was
removed, or is lent to a process that optimises it must not be used: all of that is seen to here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import qdrant_edge as edge

from xqg_qdrant.engine.edge_errors import EnginePanic, guarded
from xqg_qdrant.engine.edge_files import build_again, identity, let_go, require_free, take_lock
from xqg_qdrant.errors import EngineError, StorageError, XqgError

OPEN_FREE_BYTES = 64 * 2**20
"""Room without which no collection is opened: opening crashed with 33 MiB, and went with 39."""

SHARD = "shard"
_LOCK = "lock"


class Shards:
    """The open shards of the collections in a folder, for several threads.

    Args:
        root: the folder.
        location: what errors call it.
        require: called with the name of a collection before it is opened; raises if there is none.

    Attributes:
        lock: held by whoever works on a shard; a thread may take it again.
        away: collections that are lent, see :meth:`lend`.
    """

    def __init__(self, root: Path, location: str, require: Callable[[str], None]) -> None:
        self.lock = threading.RLock()
        self.away: set[str] = set()
        self._returned = threading.Condition(self.lock)
        self._root = root
        self._location = location
        self._require = require
        self._process = os.getpid()
        self._shards: dict[str, edge.EdgeShard] = {}
        self._opened: dict[str, tuple[int, int] | None] = {}
        self._unflushed: set[str] = set()
        self._locks: dict[str, IO[str]] = {}

    def folder(self, name: str) -> Path:
        """Where Edge keeps the shard of a collection."""
        return self._root / name / SHARD

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock.

        Raises:
            EngineError: this is the child of a process that was forked; the lock may be its
                parent's for ever.
        """
        if os.getpid() != self._process:
            raise EngineError(
                "the embedded engine was opened before os.fork and cannot be used in the child: "
                "open it there anew, or start processes with the 'spawn' method"
            )
        with self.lock:
            yield

    @contextmanager
    def open(self, name: str, *, writes: bool = False) -> Iterator[edge.EdgeShard]:
        """The shard of a collection, opened if need be; the lock is held by then.

        It stays open. After a panic it is let go of.

        Args:
            name: of the collection itself.
            writes: it is about to be changed.
        """
        while name in self.away:
            self._returned.wait()
        if name not in self._shards:
            self._require(name)
            self._shards[name] = self._load(name)
            self._opened[name] = identity(self.folder(name))
        if writes:
            self._unflushed.add(name)
        try:
            with guarded(f"work on collection {name!r} at {self._location}"):
                yield self._shards[name]
        except EnginePanic:
            self.close(name)
            raise

    def flush(self, name: str) -> None:
        """Flush an open shard to the files where others will look, not to ones removed since.

        Raises:
            StorageError: the folder was removed or replaced while it was open.
        """
        if identity(self.folder(name)) != self._opened[name]:
            self._unflushed.discard(name)
            self.close(name)
            raise StorageError(
                f"{self._root / name} was removed or replaced while collection {name!r} was open: "
                "what was written is lost. Run the same again"
            )
        self._shards[name].flush()
        self._unflushed.discard(name)

    def lend(self, name: str) -> None:
        """Close a shard for somebody else to work on its files; the lock is held by then.

        Other processes stay locked out, and calls on the collection wait for :meth:`take_back`.

        Raises:
            EngineError, StorageError: it could not be closed.
        """
        if error := self.close(name, unlock=False):
            raise error
        self.away.add(name)

    def take_back(self, name: str) -> None:
        """Let calls on a collection go on."""
        with self.lock:
            self.away.discard(name)
            self._returned.notify_all()

    def close(self, name: str, *, unlock: bool = True) -> XqgError | None:
        """Flush and close a shard, if it is open.

        Args:
            name: of the collection itself.
            unlock: let other processes open it.

        Returns:
            What went wrong; it is closed even so.
        """
        shard = self._shards.pop(name, None)
        try:
            if shard is not None:
                with guarded(f"close collection {name!r} at {self._location}"):
                    if name in self._unflushed:  # a reader has nothing to write, nor needs the room
                        shard.flush()
                    shard.close()
        except XqgError as error:
            return error
        finally:
            self._unflushed.discard(name)
            if unlock and (lock := self._locks.pop(name, None)):
                let_go(lock)
        return None

    def close_all(self) -> list[XqgError]:
        """Close all shards, and return what went wrong."""
        with self.lock:
            while self.away:
                self._returned.wait()
            errors = [error for name in list(self._shards) if (error := self.close(name))]
            while self._locks:  # of what could not be opened again after it was lent
                let_go(self._locks.popitem()[1])
        return errors

    def _load(self, name: str) -> edge.EdgeShard:
        require_free(self._root, name, OPEN_FREE_BYTES)
        action = f"open collection {name!r} at {self._location}"
        # The engine has a lock too, but before it looks at it, it mends files: a second process
        # that merely tries makes the first one fail.
        lock = self._locks.pop(name, None) or take_lock(self._root / name / _LOCK, action)
        try:
            with guarded(action):
                shard = edge.EdgeShard.load(str(self.folder(name)))
        except BaseException as error:
            let_go(lock)
            if isinstance(error, EngineError) and not isinstance(error, StorageError):
                raise EngineError(f"{error}. Its files are damaged: {build_again(name)}") from error
            raise
        self._locks[name] = lock
        return shard
