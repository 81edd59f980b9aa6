"""Names that can be moved from one collection to another in one step, on the embedded engine.

A Qdrant server has aliases (https://qdrant.tech/documentation/concepts/collections/). The embedded
engine keeps them in a file beside its collections, which is replaced as a whole: a reader finds
the old names or the new ones, and no folder moves under a process that has it open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from xqg_qdrant.corpus.jsonl import json_digest, read_json_object
from xqg_qdrant.corpus.writing import write_json
from xqg_qdrant.errors import CollectionLocked, InputError, StorageError

ALIASES_FILE = ".aliases.json"

_LOCK_FILE = ".aliases.lock"
_LOCK_SECONDS = 10.0


class AliasFile:
    """The aliases of the collections in a folder.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / ALIASES_FILE

    def read(self) -> dict[str, str]:
        """Each alias with its collection, which need not be there any more.

        Raises:
            StorageError: the file was damaged.
        """
        if not self.path.is_file():
            return {}
        try:
            row = read_json_object(self.path)
        except InputError as error:
            raise StorageError(f"{error}: the file is damaged; {self._fix()}") from None
        aliases = row.get("aliases")
        if not isinstance(aliases, dict) or row.get("sha256") != json_digest(aliases):
            raise StorageError(
                f"{self.path}: its checksum does not fit, the file is damaged; {self._fix()}"
            )
        return aliases

    def change(self, changes: Mapping[str, str | None]) -> None:
        """Set aliases, or (None) remove them, all at once.

        Raises:
            StorageError: the disk is full or read-only, or the file was damaged.
        """
        with self._locked():
            aliases: dict[str, str] = self.read()
            for alias, target in changes.items():
                aliases.pop(alias, None)
                if target is not None:
                    aliases[alias] = str(target)
            write_json(self.path, {"sha256": json_digest(aliases), "aliases": aliases})

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold others off between reading and writing; the system lets go when a process dies."""
        import portalocker

        try:
            with portalocker.Lock(
                self.path.with_name(_LOCK_FILE), "a", timeout=_LOCK_SECONDS, fail_when_locked=False
            ):
                yield
        except portalocker.LockException as error:
            raise CollectionLocked(
                f"{self.path}: another process holds it for longer than {_LOCK_SECONDS:.0f} s "
                f"({error}): try again"
            ) from None
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error.strerror or error}") from error

    def _fix(self) -> str:
        return (
            "it says which folder beside it a name stands for: remove it, and set each name again "
            "with 'xqg alias'"
        )
