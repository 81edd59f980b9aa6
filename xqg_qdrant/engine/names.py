"""Names of collections, and what a name can stand for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from xqg_qdrant.errors import InputError

PREVIOUS = ".previous"
"""What the name of a replaced collection ends in."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_BUILT = re.compile(r"(.+)-[0-9a-f]{8}")


def check_collection_name(name: str) -> str:
    """Return the name of a collection; it becomes a folder or a part of a URL.

    Raises:
        InputError: it holds anything but letters, digits, ``.``, ``_`` and ``-``.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name a collection: use up to 128 letters, digits, '.', '_' and '-', "
            "the first one a letter or a digit"
        )
    return name


class Pinned(str):
    """The name of a collection itself, never looked up among aliases again."""

    __slots__ = ()


def base_of(name: str) -> str | None:
    """The name that a collection was built for, when it is named as a build is; else None."""
    match = _BUILT.fullmatch(name)
    return match[1] if match else None


def listed(names: Iterable[str], aliases: Mapping[str, str]) -> list[str]:
    """The names that a user knows: a collection built for an alias goes by that alias alone.

    Args:
        names: of the collections themselves.
        aliases: each with its collection.
    """
    known = {
        target
        for alias, target in aliases.items()
        if base_of(target) == alias.removesuffix(PREVIOUS)
    }
    return sorted({*names, *aliases} - (known - aliases.keys()))
