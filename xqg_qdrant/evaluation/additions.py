"""What is added to passages' vectors: single vectors, or sums that a collection has kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.trials import EVERY_FOLD, EVERYONE, Addition
from xqg_qdrant.fusion import Matrix

Places = npt.NDArray[np.intp]
"""intp, (n,): rows of the pool."""


class Added(Protocol):
    """Vectors that may be added to those of a pool of n passages."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Those that there is anything in, sorted."""

    @property
    def most(self) -> int:
        """Most single vectors that a passage has in one language and fold.

        Raises:
            InputError: sums alone are known.
        """

    def total(self, languages: Sequence[str], fold: int, first: int | None) -> Matrix | None:
        """The sum of what may be used in a fold, (n, dimension); None where there is nothing.

        Args:
            languages: those that are summed.
            fold: see :class:`Addition`.
            first: so many of each passage and language; all when None.

        Raises:
            InputError: some are asked for, but sums alone are known.
        """

    def singles(self, fold: int) -> tuple[Matrix, Places]:
        """All vectors that may be used in a fold, and the passage of each, in their order.

        Raises:
            InputError: sums alone are known.
        """


class SingleVectors:
    """Additions whose vectors are known one by one.

    Args:
        vectors: of each addition, (n, dimension).
        additions: what each row is, n of them.
        rows: of the pool, by passage id.
    """

    def __init__(
        self, vectors: Matrix, additions: Sequence[Addition], rows: Mapping[str, int]
    ) -> None:
        orders: dict[tuple[str, str, int], int] = {}
        places = []
        for each in additions:
            key = each.passage_id, each.lang, each.fold
            places.append(orders.get(key, 0))
            orders[key] = places[-1] + 1
        self._pool = len(rows)
        self._vectors = vectors
        self._rows: Places = np.array([rows[each.passage_id] for each in additions], dtype=np.intp)
        self._languages = np.array([each.lang for each in additions], dtype=np.str_)
        self._folds: Places = np.array([each.fold for each in additions], dtype=np.intp)
        self._orders: Places = np.array(places, dtype=np.intp)

    @property
    def languages(self) -> tuple[str, ...]:
        """See :class:`Added`."""
        return tuple(sorted(set(self._languages.tolist())))

    @property
    def most(self) -> int:
        """See :class:`Added`."""
        return int(self._orders.max()) + 1 if len(self._orders) else 0

    def total(self, languages: Sequence[str], fold: int, first: int | None) -> Matrix | None:
        """See :class:`Added`."""
        kept = np.isin(self._languages, [*languages, EVERYONE])
        if not kept.any():
            return None
        kept &= self._usable(fold)
        if first is not None:
            kept &= self._orders < first
        total = np.zeros((self._pool, self._vectors.shape[1]), dtype=np.float64)
        np.add.at(total, self._rows[kept], self._vectors[kept])
        return total.astype(np.float32)

    def singles(self, fold: int) -> tuple[Matrix, Places]:
        """See :class:`Added`."""
        kept = np.flatnonzero(self._usable(fold))
        kept = kept[np.argsort(self._rows[kept], kind="stable")]
        return self._vectors[kept], self._rows[kept]

    def in_place_of(self, passages: Matrix, language: str) -> Matrix:
        """The pool's vectors, with those in a language where there are such."""
        kept = self._languages == language
        vectors = passages.copy()
        vectors[self._rows[kept]] = self._vectors[kept]
        return vectors

    def _usable(self, fold: int) -> npt.NDArray[np.bool_]:
        usable: npt.NDArray[np.bool_] = (self._folds == fold) | (self._folds == EVERY_FOLD)
        return usable


class SummedVectors:
    """Sums over each language's queries, as a collection keeps them.

    Args:
        sums: for each fold and language one matrix, (n, dimension), a row a passage.
        source: what keeps them, for messages.
    """

    def __init__(self, sums: Mapping[tuple[int, str], Matrix], source: str) -> None:
        self._sums = dict(sums)
        self._source = source

    @property
    def languages(self) -> tuple[str, ...]:
        """See :class:`Added`."""
        return tuple(sorted({language for _, language in self._sums}))

    @property
    def most(self) -> int:
        """See :class:`Added`."""
        raise self._refusal()

    def total(self, languages: Sequence[str], fold: int, first: int | None) -> Matrix | None:
        """See :class:`Added`."""
        if first is not None:
            raise self._refusal()
        found = [
            matrix
            for (of, language), matrix in sorted(self._sums.items())
            if language in languages and of == fold
        ]
        if len(found) < 2:
            return found[0] if found else None
        total = np.zeros(found[0].shape, dtype=np.float64)
        for matrix in found:
            total += matrix
        return total.astype(np.float32)

    def singles(self, fold: int) -> tuple[Matrix, Places]:
        """See :class:`Added`."""
        raise self._refusal()

    def _refusal(self) -> InputError:
        return InputError(
            f"{self._source} keeps the sums of its queries, not each one: this needs a collection "
            "of layout 'multivector', or the queries encoded anew (no --collection)"
        )
