"""Which vectors the points of a collection have, and the checks before an engine sees one.

Engines mishandle what is caught here: Qdrant Edge takes sparse vectors whose indices and values
differ in number, and ragged multivectors, into its log before it looks at them, and can then not
be opened any more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xqg_qdrant.errors import InputError
from xqg_qdrant.fusion import Matrix, Vector
from xqg_qdrant.lexical import SparseVector

MAX_DIMENSION = 65_536
MAX_MULTIVECTOR_FLOATS = 2**20
"""A multivector has fewer numbers than this, or Qdrant refuses it."""

AnyVector = Vector | Matrix | SparseVector
"""A dense vector, (dimension,); a multivector, (rows, dimension); or a sparse vector."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The named vectors of every point of a collection; all are compared by the dot product.

    Attributes:
        dimensions: of each dense vector, and of the rows of each multivector.
        multivectors: which of them are multivectors, scored by their best row (MaxSim).
        sparse: the sparse vectors, each value of a question times its term's idf in the collection.
    """

    dimensions: Mapping[str, int]
    multivectors: frozenset[str] = field(default_factory=frozenset)
    sparse: frozenset[str] = field(default_factory=frozenset)

    @property
    def names(self) -> list[str]:
        """Of all vectors, sorted."""
        return sorted({*self.dimensions, *self.sparse})

    def check(self) -> None:
        """Check that there can be such a collection.

        Raises:
            InputError: a dimension is not possible, or names do not fit together.
        """
        for name, dimension in self.dimensions.items():
            if not 1 <= dimension <= MAX_DIMENSION:
                raise InputError(f"vector {name!r} has dimension {dimension}: 1 to 65536 go")
        if not self.multivectors <= self.dimensions.keys():
            raise InputError(f"multivectors {sorted(self.multivectors)}: give all a dimension")
        if both := self.sparse & self.dimensions.keys():
            raise InputError(f"vectors {sorted(both)} are sparse and dense: give other names")

    def check_point_vector(self, vector: AnyVector, name: str) -> None:
        """Check a vector of a point.

        Raises:
            InputError: the collection has no such vector, or this one is malformed.
        """
        if name in self.multivectors:
            self._check_multivector(vector, name)
        else:
            self.check_query_vector(vector, name)

    def check_query_vector(self, vector: AnyVector, name: str) -> None:
        """Check a vector of a question; one row asks a multivector.

        Raises:
            InputError: the collection has no such vector, or this one is malformed.
        """
        if name in self.sparse:
            _check_sparse(vector, name)
            return
        if name not in self.dimensions:
            raise InputError(f"the collection has no vector {name!r}, it has {self.names}")
        array, dimension = _floats(vector, name), self.dimensions[name]
        if array.shape != (dimension,):
            raise InputError(
                f"vector {name!r} has shape {array.shape}, the collection wants ({dimension},)"
            )
        _check_finite(array, name)

    def _check_multivector(self, vector: AnyVector, name: str) -> None:
        array, dimension = _floats(vector, name), self.dimensions[name]
        if array.ndim != 2 or array.shape[1] != dimension or not len(array):
            raise InputError(
                f"multivector {name!r} has shape {array.shape}, "
                f"the collection wants (1 or more, {dimension})"
            )
        if array.size >= MAX_MULTIVECTOR_FLOATS:
            raise InputError(
                f"multivector {name!r} has {len(array):,} rows of {dimension} numbers: fewer than "
                f"{MAX_MULTIVECTOR_FLOATS:,} numbers go in all, give the passage fewer queries"
            )
        _check_finite(array, name)


def _floats(vector: AnyVector, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    if not isinstance(vector, np.ndarray) or vector.dtype != np.float32:
        raise InputError(f"vector {name!r} must be a numpy array of float32")
    return vector


def _check_finite(array: np.ndarray[Any, np.dtype[np.float32]], name: str) -> None:
    flat = array.ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        square = float(flat.dot(flat))  # finite but for the longest, and quickly had
    if not math.isfinite(square) and not np.isfinite(array).all():
        raise InputError(f"vector {name!r} holds NaN or infinity")


def _check_sparse(vector: AnyVector, name: str) -> None:
    if not isinstance(vector, SparseVector):
        raise InputError(f"vector {name!r} is sparse: give a SparseVector")
    indices, values = vector.indices, vector.values
    for array, kind in ((indices, np.uint32), (values, np.float32)):
        if not isinstance(array, np.ndarray) or array.dtype != kind or array.ndim != 1:
            raise InputError(f"sparse vector {name!r} must be 1-d numpy arrays of uint32, float32")
    if len(indices) != len(values):
        raise InputError(
            f"sparse vector {name!r} has {len(indices)} indices but {len(values)} values"
        )
    if len(np.unique(indices)) != len(indices):
        raise InputError(f"sparse vector {name!r} has an index twice: sum their values")
    _check_finite(values, name)
