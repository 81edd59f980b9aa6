"""Typed access to the fields of a model folder's ``manifest.json``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xqg_qdrant.errors import InputError, ModelError
from xqg_qdrant.fusion import check_alpha

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


class Fields:
    """The fields of an object; what is wrong with one is a ``ModelError`` that names it.

    Args:
        path: of the file that holds the object.
        row: the object.
        within: the field that the object is the value of, if it is not all of the file.
    """

    def __init__(self, path: Path, row: Mapping[str, Any], within: str = "") -> None:
        self.path = path
        self.row = row
        self._within = f"{within}." if within else ""

    def text(self, name: str, default: str | None = None) -> str:
        """A string; not an empty one, unless that is the default."""
        value = self.row.get(name, default)
        if not _is_text(value) or (not value and default is None):
            kind = "a non-empty string" if default is None else "a string"
            raise self._wrong(name, f"must be {kind}, not {value!r}")
        return str(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings, empty where there is none."""
        value = self.row.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(_is_text(each) for each in value):
            raise self._wrong(name, "must be a list of strings")
        return tuple(value)

    def whole(self, name: str, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``."""
        value = self.row.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._wrong(name, f"must be a whole number from {low} to {high}, not {value!r}")
        return value

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object, empty where there is none."""
        value = self.row.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._wrong(name, "must be an object")
        return value

    def inner(self, name: str) -> Fields:
        """The fields of an object in this one."""
        return Fields(self.path, self.mapping(name), self._within + name)

    def require_kind(self, wanted: str) -> None:
        """Check that the model is of the kind that is wanted."""
        if (kind := self.text("kind")) != wanted:
            article = "an" if wanted[0] in "aeiou" else "a"
            raise ModelError(
                f"{self.path}: this is a model of kind {kind!r}, {article} {wanted} is wanted"
            )

    def alphas(self, name: str) -> dict[str, dict[str, float]]:
        """Default alphas by layout, for ``dense`` and ``hybrid`` search."""
        sides = self.inner(name)
        found: dict[str, dict[str, float]] = {}
        for layout, values in sides.row.items():
            if not isinstance(values, dict) or not values.keys() <= {"dense", "hybrid"}:
                raise sides._wrong(layout, "must be an object of 'dense' and 'hybrid'")
            try:
                found[layout] = {side: check_alpha(alpha) for side, alpha in values.items()}
            except InputError as error:
                raise ModelError(f"{self.path}: '{name}.{layout}': {error}") from None
        return found

    def files(self, *needed: str) -> dict[str, str]:
        """The sha256 of each file by its name, the needed ones among them."""
        files = self.inner("files")
        hashes: dict[str, str] = {}
        for name, entry in files.row.items():
            # A manifest may come from anywhere: it must not make us read outside its folder.
            if name in ("", ".", "..") or "/" in name or "\\" in name or not name.isprintable():
                raise ModelError(f"{self.path}: {name!r} is not the plain name of a file")
            digest = entry.get("sha256") if isinstance(entry, dict) else entry
            if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
                raise files._wrong(name, "has no sha256")
            hashes[name] = digest.lower()
        for name in needed:
            if name not in hashes:
                raise ModelError(f"{self.path}: 'files' does not list {name}")
        return hashes

    def _wrong(self, name: str, how: str) -> ModelError:
        return ModelError(f"{self.path}: {self._within + name!r} {how}")


def _is_text(value: object) -> bool:
    """Whether it is a string without lone surrogates, which no file name or tokenizer takes."""
    if not isinstance(value, str):
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
