"""``QUERIES.jsonl.meta.json``: what wrote a file of queries, once, beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xqg_qdrant.corpus.jsonl import STDIN, Source, read_json_object
from xqg_qdrant.corpus.writing import write_json
from xqg_qdrant.errors import InputError

SCHEMA_VERSION = 1


def side_file(queries: Path) -> Path:
    """Where the side file of a file of queries lies."""
    return queries.with_name(f"{queries.name}.meta.json")


def write_side_file(queries: Path, fields: Mapping[str, Any]) -> None:
    """Write what is known of a file of queries.

    Args:
        queries: the file.
        fields: JSON; ``generator`` names what wrote the queries.

    Raises:
        InputError: there is no such folder.
        StorageError: the disk is full.
    """
    write_json(side_file(queries), {"schema_version": SCHEMA_VERSION, **fields})


def read_side_file(queries: Source) -> dict[str, Any] | None:
    """What is known of a file of queries; None if nothing is, or they come from a pipe.

    Raises:
        InputError: the side file is damaged.
    """
    if str(queries) == STDIN:
        return None
    file = Path(queries)
    if file.suffix == ".gz" and not side_file(file).is_file():
        file = file.with_suffix("")  # packed later
    path = side_file(file)
    if not path.is_file():
        return None
    row = read_json_object(path)
    if not isinstance(row.get("generator"), str):
        raise InputError(
            f"{path}: no field 'generator': it is the side file of {queries}, and names what "
            "wrote it; repair or remove it"
        )
    return row
