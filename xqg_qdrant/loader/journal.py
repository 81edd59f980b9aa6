"""The journal: how far the last ingest into a collection came. It is kept with the collection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from xqg_qdrant.corpus.checks import MAX_COUNT, check_whole
from xqg_qdrant.errors import InputError, StorageError

JOURNAL = "journal"

_ALWAYS = ("input", "batch_size", "total", "done", "created", "complete")
"""What every release has written."""


@dataclass(slots=True)
class Journal:
    """How far an ingest came.

    Attributes:
        input: fingerprint of its passages and queries, in their order.
        batch_size: passages in a batch; a resumed run makes the same batches.
        total: passages in its input.
        done: passages that the engine has acknowledged, from the first on.
        created: the collection was made by this ingest, nothing else is in it.
        complete: it ended well.
        writer: drawn anew by every run, so that one that another run has overtaken notices.
    """

    input: str
    batch_size: int
    total: int
    done: int = 0
    created: bool = False
    complete: bool = False
    writer: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any], collection: str) -> Journal:
        """From a JSON object.

        Raises:
            StorageError: it is not a journal.
        """
        try:
            if missing := [name for name in _ALWAYS if name not in row]:
                raise ValueError(f"no field {missing[0]}")
            journal = cls(**row)
            for name in ("batch_size", "total", "done"):
                setattr(journal, name, check_whole(getattr(journal, name), name, 0, MAX_COUNT))
            for name, kind in (
                ("input", str),
                ("writer", str),
                ("created", bool),
                ("complete", bool),
            ):
                if not isinstance(getattr(journal, name), kind):
                    raise TypeError(f"{name} is {getattr(journal, name)!r}")
            if not 0 <= journal.done <= journal.total or journal.batch_size < 1:
                raise ValueError(f"{journal.done} of {journal.total} passages done")
        except (TypeError, ValueError, InputError) as error:
            raise StorageError(
                f"the journal of collection {collection!r} is damaged ({error!s:.200}): "
                "ingest the same again with --restart (restart=True)"
            ) from None
        return journal
