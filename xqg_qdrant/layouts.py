"""Layouts: which vectors a point has, and which of them a question is scored by.

All are scored by the dot product, which is linear, so that sums over queries can be kept apart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from xqg_qdrant.errors import InputError
from xqg_qdrant.fusion import (
    Matrix,
    Vector,
    check_alpha,
    fuse_sum,
    grouped_sums,
    query_matrix,
    tunable_query,
)

PASSAGE_VECTOR = "passage"
FUSED_VECTOR = "fused"
TUNABLE_VECTOR = "tunable"
MULTIVECTOR = "multivector"


Named = dict[str, Sequence[Vector | Matrix]]
"""By name, the vectors of many points."""


@dataclass(frozen=True, slots=True)
class Encodings:
    """What an encoder made of some passages and their queries.

    Attributes:
        passages: E(p), float32, (n, dimension).
        queries: E(q), float32, (m, dimension), those of a passage one after the other.
        owners: of each query, the row of its passage, rising; (m,).
        languages: of each query, m of them.

    Raises:
        InputError: they do not fit together.
    """

    passages: Matrix
    queries: Matrix
    owners: npt.NDArray[np.intp]
    languages: Sequence[str]

    def __post_init__(self) -> None:
        if not len(self.queries) == len(self.owners) == len(self.languages):
            raise InputError(
                f"{len(self.queries)} query vectors but {len(self.languages)} languages"
            )

    def sums(self, language: str | None = None) -> npt.NDArray[np.float64]:
        """``sum_q E(q)`` of each passage, over one language's queries or all: (n, dimension)."""
        queries, owners = self.queries, self.owners
        if language is not None:
            own = np.fromiter((each == language for each in self.languages), bool, len(owners))
            queries, owners = queries[own], owners[own]
        return grouped_sums(queries, owners, self.passages.shape)


class Layout(ABC):
    """One way to store a passage and its queries; stateless.

    Attributes:
        name: as users write it.
        default_alpha: measured on development questions, see ``docs/evaluation.md``; 0 where a
            layout has no use for alpha.
        hybrid_alpha: the same beside a lexical vector, which takes a part of the queries' work.
        alpha_of: the layout whose alphas are this one's too; itself where empty.
        multivectors: names of the vectors that have a row a text, and are scored by the best.
        by_language: which language a question is in matters.
        tunable: alpha and the languages' weights are chosen with each question.
    """

    name: ClassVar[str]
    default_alpha: ClassVar[float]
    hybrid_alpha: ClassVar[float]
    alpha_of: ClassVar[str] = ""
    multivectors: ClassVar[frozenset[str]] = frozenset()
    by_language: ClassVar[bool] = False
    tunable: ClassVar[bool] = False

    @abstractmethod
    def dimensions(self, dimension: int, languages: Sequence[str]) -> dict[str, int]:
        """The named vectors of every point, with their dimensions.

        Args:
            dimension: of the encoder's vectors.
            languages: of the collection's queries.
        """

    @abstractmethod
    def batch_vectors(self, batch: Encodings, *, alpha: float, languages: Sequence[str]) -> Named:
        """The vectors of many points at once.

        Args:
            batch: E(p) of the passages, and E(q) of their queries.
            alpha: the paper's; a tunable layout takes it with the question instead.
            languages: of the collection; every point gets a vector for each.

        Returns:
            By name, a vector for each passage.
        """

    def point_vectors(
        self,
        passage: Vector,
        queries: Matrix,
        query_languages: Sequence[str],
        *,
        alpha: float,
        languages: Sequence[str],
    ) -> dict[str, Vector | Matrix]:
        """The vectors of one point.

        Args:
            passage: E(p), (dimension,).
            queries: E(q) of its n generated queries, (n, dimension).
            query_languages: the language of each, n of them.
            alpha: as in :meth:`batch_vectors`.
            languages: as in :meth:`batch_vectors`.

        Raises:
            InputError: n vectors but another number of languages, or of another dimension.
        """
        batch = Encodings(
            np.asarray(passage)[None],
            query_matrix(queries, len(passage)).astype(np.float32),
            np.zeros(len(queries), dtype=np.intp),
            query_languages,
        )
        named = self.batch_vectors(batch, alpha=alpha, languages=languages)
        return {name: vectors[0] for name, vectors in named.items()}

    @abstractmethod
    def search_vector(self, language: str | None, languages: Sequence[str]) -> str:
        """The name of the vector that scores a question in this language."""

    @abstractmethod
    def plain_vector(self) -> str | None:
        """The name of the vector of the passage alone, None where it is not kept."""

    @abstractmethod
    def sums(self, languages: Sequence[str]) -> int:
        """Over how many sums the queries of a passage are spread; 0 where none are summed."""

    def vector_names(self, languages: Sequence[str]) -> list[str]:
        """The named vectors of every point of a collection with queries in these languages."""
        return list(self.dimensions(1, languages))

    def chosen_alpha(
        self,
        alpha: float | None,
        *,
        hybrid: bool,
        defaults: Mapping[str, Mapping[str, float]] | None = None,
    ) -> float:
        """The alpha that a collection is built with: the one given, or the default.

        Args:
            alpha: the paper's, None for the default.
            hybrid: beside a lexical vector.
            defaults: the encoder's own, see :class:`~xqg_qdrant.models.manifest.EncoderManifest`.

        Raises:
            InputError: it is none, or the layout has no use for one.
        """
        if alpha is None:
            side, default = "dense", self.default_alpha
            if hybrid:
                side, default = "hybrid", self.hybrid_alpha
            own = (defaults or {}).get(self.alpha_of or self.name, {})
            return own.get(side, default) if self.default_alpha else 0.0
        checked = check_alpha(alpha)
        if self.default_alpha == 0.0 and checked != 0.0:
            raise InputError(f"layout {self.name!r} sums no queries, it has no alpha: leave it out")
        return checked

    def question_vector(
        self,
        question: Vector,
        language: str | None,
        languages: Sequence[str],
        *,
        alpha: float,
        weights: Mapping[str, float] | None,
    ) -> Vector:
        """What is compared with the points' vectors: the question's own, unless tunable.

        Args:
            question: E(x), (dimension,).
            language: of the question.
            languages: of the collection.
            alpha: the paper's.
            weights: of each language's queries; the question's own language alone when None.
        """
        return question


class FusedLayout(Layout):
    """One vector, the paper's: the sum over the queries of every language."""

    name = "fused"
    default_alpha = 0.01
    hybrid_alpha = 0.01

    def dimensions(self, dimension: int, languages: Sequence[str]) -> dict[str, int]:
        """One vector."""
        return {FUSED_VECTOR: dimension}

    def batch_vectors(self, batch: Encodings, *, alpha: float, languages: Sequence[str]) -> Named:
        """``(1 - alpha) * E(p) + alpha * sum_q E(q)`` over all queries."""
        return {FUSED_VECTOR: list(fuse_sum(batch.passages, batch.sums(), alpha))}

    def search_vector(self, language: str | None, languages: Sequence[str]) -> str:
        """The one vector, whatever the language."""
        return FUSED_VECTOR

    def plain_vector(self) -> str | None:
        """None: the passage alone cannot be had back."""
        return None

    def sums(self, languages: Sequence[str]) -> int:
        """One."""
        return 1


class PerLanguageLayout(Layout):
    """The passage's vector, and for each language the passage fused with that language's sum.

    A question in Arabic is scored by E(p) and the Arabic sum alone. Nearly all of xQG's gain
    comes from the asker's language, and other languages' queries dilute it. A passage without
    queries in a language keeps its share of E(p) there, so it can still be found.
    """

    name = "per-language"
    default_alpha = 0.1
    hybrid_alpha = 0.01
    by_language = True

    def dimensions(self, dimension: int, languages: Sequence[str]) -> dict[str, int]:
        """The passage's vector, then one a language."""
        names = [PASSAGE_VECTOR, *(_vector_of(language) for language in languages)]
        return dict.fromkeys(names, dimension)

    def batch_vectors(self, batch: Encodings, *, alpha: float, languages: Sequence[str]) -> Named:
        """E(p), and ``(1 - alpha) * E(p) + alpha * sum_q E(q)`` over each language's queries."""
        vectors: dict[str, Sequence[Vector | Matrix]] = {
            PASSAGE_VECTOR: list(batch.passages),
        }
        for language in languages:
            fused = fuse_sum(batch.passages, batch.sums(language), alpha)
            vectors[_vector_of(language)] = list(fused)
        return vectors

    def search_vector(self, language: str | None, languages: Sequence[str]) -> str:
        """The language's vector, or the passage's where the collection has none for it."""
        return _vector_of(language) if language in languages else PASSAGE_VECTOR

    def plain_vector(self) -> str | None:
        """The passage's own."""
        return PASSAGE_VECTOR

    def sums(self, languages: Sequence[str]) -> int:
        """One a language."""
        return len(languages)


class TunableLayout(Layout):
    """``[E(p); S_1; …; S_L]``: the passage beside the sum of each language's queries, unfused.

    The question ``[(1 - alpha) E(x); alpha w_1 E(x); …]`` scores exactly as the vector fused with
    that alpha, and with those weights of the languages, would: the one asker's language at
    weight 1 is layout ``per-language``, all of them are ``fused``, and alpha 0 is the passage
    alone. The place of a language is that in the collection's sorted ones.
    """

    name = "tunable"
    default_alpha = 0.1
    hybrid_alpha = 0.01
    alpha_of = PerLanguageLayout.name
    by_language = True
    tunable = True

    def dimensions(self, dimension: int, languages: Sequence[str]) -> dict[str, int]:
        """One vector, of the encoder's dimension for the passage and for each language."""
        return {TUNABLE_VECTOR: dimension * (1 + len(languages))}

    def batch_vectors(self, batch: Encodings, *, alpha: float, languages: Sequence[str]) -> Named:
        """``[E(p); S_1; …; S_L]``; alpha comes with the question."""
        sums = [batch.sums(language).astype(np.float32) for language in languages]
        return {TUNABLE_VECTOR: list(np.concatenate([batch.passages, *sums], axis=1))}

    def search_vector(self, language: str | None, languages: Sequence[str]) -> str:
        """The one vector, whatever the language."""
        return TUNABLE_VECTOR

    def plain_vector(self) -> str | None:
        """The one vector: alpha 0 leaves the passage alone."""
        return TUNABLE_VECTOR

    def sums(self, languages: Sequence[str]) -> int:
        """One a language."""
        return len(languages)

    def question_vector(
        self,
        question: Vector,
        language: str | None,
        languages: Sequence[str],
        *,
        alpha: float,
        weights: Mapping[str, float] | None,
    ) -> Vector:
        """``[(1 - alpha) E(x); alpha w_1 E(x); …; alpha w_L E(x)]``.

        A question in a language without queries is scored by the passage alone.
        """
        if weights is None:
            weights = {language: 1.0} if language in languages and language is not None else {}
        if not any(weights.get(each) for each in languages):
            alpha = 0.0
        return tunable_query(question, alpha, [weights.get(each, 0.0) for each in languages])


class MultivectorLayout(Layout):
    """One row for the passage and one for each query; the best of them is the score (MaxSim).

    Nothing is summed, so nothing is diluted, however many queries there are; each costs a row.
    """

    name = "multivector"
    default_alpha = 0.0
    hybrid_alpha = 0.0
    multivectors = frozenset({MULTIVECTOR})

    def dimensions(self, dimension: int, languages: Sequence[str]) -> dict[str, int]:
        """The passage's vector, and that of the rows."""
        return {PASSAGE_VECTOR: dimension, MULTIVECTOR: dimension}

    def batch_vectors(self, batch: Encodings, *, alpha: float, languages: Sequence[str]) -> Named:
        """E(p), and the rows: E(p), then every E(q)."""
        return {
            PASSAGE_VECTOR: list(batch.passages),
            MULTIVECTOR: [
                np.concatenate([passage[None], batch.queries[batch.owners == row]])
                for row, passage in enumerate(batch.passages)
            ],
        }

    def search_vector(self, language: str | None, languages: Sequence[str]) -> str:
        """The rows, whatever the language."""
        return MULTIVECTOR

    def plain_vector(self) -> str | None:
        """The passage's own."""
        return PASSAGE_VECTOR

    def sums(self, languages: Sequence[str]) -> int:
        """None."""
        return 0


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (FusedLayout(), PerLanguageLayout(), TunableLayout(), MultivectorLayout())
}
DEFAULT_LAYOUT = PerLanguageLayout.name


def layout_named(name: str) -> Layout:
    """The layout of that name.

    Raises:
        InputError: there is none.
    """
    try:
        return LAYOUTS[name]
    except (KeyError, TypeError):  # a list has no hash
        raise InputError(f"unknown layout {name!r}: choose one of {', '.join(LAYOUTS)}") from None


def _vector_of(language: str | None) -> str:
    return f"{FUSED_VECTOR}-{language}"
