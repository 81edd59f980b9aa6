"""Points, and the checks before an engine sees one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from xqg_qdrant.corpus.checks import check_payload
from xqg_qdrant.engine.vectors import AnyVector, Shape
from xqg_qdrant.errors import InputError

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Point:
    """A point: a UUID, a payload, and vectors by name."""

    id: str
    payload: Mapping[str, Any]
    vectors: Mapping[str, AnyVector] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScoredPoint:
    """A point found, with the dot product of its vector and the question's, or a fused score."""

    id: str
    score: float
    payload: Mapping[str, Any]


def ranked(points: Sequence[ScoredPoint]) -> list[ScoredPoint]:
    """Best first; ties by id."""
    return sorted(points, key=lambda point: (-point.score, point.id))


def check_points(points: Sequence[Point], shape: Shape) -> None:
    """Check a batch of points before an engine sees any.

    Raises:
        InputError: an id is no UUID or comes twice, a payload is no plain JSON, or vectors are
            not exactly those of the collection, each well-formed.
    """
    names = shape.names
    seen: set[str] = set()
    for point in points:
        _check_id(point.id)
        if point.id in seen:
            raise InputError(f"point {point.id} stands twice in one batch: keep one of them")
        seen.add(point.id)
        check_payload(point.payload)
        if sorted(point.vectors) != names:
            raise InputError(
                f"point {point.id} has vectors {sorted(point.vectors)}, "
                f"the collection wants {names}"
            )
        for name, vector in point.vectors.items():
            shape.check_point_vector(vector, name)


def _check_id(given: object) -> None:
    if not isinstance(given, str):
        raise InputError(f"point id {given!r} is no string: give a UUID")
    if _CANONICAL.fullmatch(given):
        return
    try:
        canonical = str(UUID(given))
    except ValueError:
        raise InputError(f"point id {given!r} is no UUID") from None
    raise InputError(f"point id {given!r}: write it as {canonical!r}")
