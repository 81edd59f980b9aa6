"""Options of ``xqg ingest`` that say how the engine keeps vectors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import click

from xqg_qdrant.engine.storage import (
    AUTO,
    BOUNDS,
    LEAST_OVERSAMPLING,
    MOST_OVERSAMPLING,
    QUANTIZATIONS,
    QUANTIZE_FROM,
    Storage,
)

Command = TypeVar("Command", bound=Callable[..., Any])

_DEFAULTS = Storage().resolved()
_HELP = {
    "hnsw_m": "Edges of a node of the HNSW graph; 0 builds none.",
    "hnsw_ef_construct": "Candidates looked at for each node while the graph is built.",
    "hnsw_ef": "Candidates looked at by a search.",
    "indexing_threshold": "kB of a vector's data in a segment from which a graph is built.",
    "shards": "Servers only: parts to spread the collection over.",
    "replication_factor": "Servers only: copies of each shard.",
    "write_consistency_factor": "Servers only: copies that must confirm a write.",
}


def _number(name: str) -> Callable[[Command], Command]:
    default = getattr(_DEFAULTS, name)
    told = "as the server has it" if default is None else f"{default:,}"
    return click.option(
        f"--{name.replace('_', '-')}",
        type=click.IntRange(*BOUNDS[name]),
        metavar="N",
        help=f"{_HELP[name]}  [default: {told}]",
    )


_OPTIONS = (
    click.option(
        "--quantization",
        type=click.Choice(QUANTIZATIONS),
        help="int8: find candidates by a byte a number, score them by the vectors themselves; "
        f"auto: from {QUANTIZE_FROM:,} points on.  [default: {AUTO}]",
    ),
    click.option(
        "--oversampling",
        type=click.FloatRange(LEAST_OVERSAMPLING, MOST_OVERSAMPLING),
        metavar="X",
        help=f"int8 candidates per hit wanted.  [default: {LEAST_OVERSAMPLING:g}]",
    ),
    click.option(
        "--on-disk/--no-on-disk",
        default=None,
        help="Read vectors from disk when needed; int8 ones stay in memory.  [default: no]",
    ),
    *map(_number, _HELP),
)


def storage_options(command: Command) -> Command:
    """Add all of them to a command, which gets a :class:`Storage` as ``storage``.

    An option that is not given is left open: the default, or what an existing collection has.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        settings = {field.name: kwargs.pop(field.name) for field in fields(Storage)}
        return command(*args, storage=Storage(**settings), **kwargs)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def shown(storage: Storage) -> str:
    """The settings as people read them."""
    words = {
        AUTO: f"int8 from {QUANTIZE_FROM:,} points on",
        "int8": "int8",
        "none": "not quantised",
    }
    parts = [
        words[str(storage.quantization)],
        "vectors on disk" if storage.on_disk else "",
        f"HNSW m {storage.hnsw_m}, ef_construct {storage.hnsw_ef_construct}, ef {storage.hnsw_ef}",
        f"{storage.shards} shards" if storage.shards else "",
        f"{storage.replication_factor} copies" if storage.replication_factor else "",
        f"{storage.write_consistency_factor} to confirm a write"
        if storage.write_consistency_factor
        else "",
    ]
    return "; ".join(filter(None, parts))
