"""A question as a collection is asked it: vectors, and the names of those that they meet."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xqg_qdrant.collection import CollectionManifest
from xqg_qdrant.errors import InputError
from xqg_qdrant.fusion import Matrix, Vector, check_alpha, total_mass
from xqg_qdrant.hybrid import MAXSIM_PERFECT
from xqg_qdrant.languages import LanguageDetector, normalize_language
from xqg_qdrant.layouts import LAYOUTS
from xqg_qdrant.lexical import Lexical, SparseVector

_LARGEST_WEIGHT = 1e6
"""Of one language's queries; vectors of far larger ones would leave float32."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How questions are asked, checked against the collection.

    Attributes:
        augmented: the generated queries are used.
        alpha: the paper's; None for the collection's.
        weights: of each language's queries; None for the question's own language alone.
        hybrid: lexical vectors are used beside the dense ones.
    """

    augmented: bool
    alpha: float | None
    weights: Mapping[str, float] | None
    hybrid: bool

    @classmethod
    def of(
        cls,
        manifest: CollectionManifest,
        collection: str,
        *,
        augmented: bool,
        alpha: float | None,
        weights: Mapping[str, float] | None,
        hybrid: bool | None,
    ) -> Asking:
        """From what a user gives; ``hybrid=None`` is as the collection is.

        Raises:
            InputError: the collection cannot be asked so.
        """
        layout = manifest.layout_object
        tunable = ", ".join(repr(name) for name, each in LAYOUTS.items() if each.tunable)
        for value, name in ((alpha, "alpha"), (weights, "language_weights")):
            if value is None:
                continue
            if not layout.tunable:
                raise InputError(
                    f"collection {collection!r} has layout {layout.name!r}, whose {name} cannot be "
                    f"chosen with a question: leave it out, or build with layout {tunable}"
                )
            if not augmented:
                raise InputError(f"{name} weighs the queries, which are left out: give one of both")
        if not augmented and layout.plain_vector() is None:
            raise InputError(
                f"layout {layout.name!r} keeps no vector of the passage alone: search it with "
                "the generated queries, or build the collection with layout 'per-language'"
            )
        if hybrid and manifest.lexical is None:
            raise InputError(
                f"collection {collection!r} has no lexical vectors: search it without hybrid, or "
                "build it with --hybrid (hybrid=True)"
            )
        hybrid = manifest.hybrid if hybrid is None else hybrid
        if hybrid and manifest.lexical is not None:
            manifest.lexical.require_known(collection)
        return cls(
            augmented=augmented,
            alpha=None if alpha is None else check_alpha(alpha),
            weights=None if weights is None else _checked(weights, manifest.languages),
            hybrid=hybrid,
        )

    def needs_language(self, manifest: CollectionManifest) -> bool:
        """Whether it matters which language a question is in."""
        if not self.augmented or self.weights is not None or not manifest.languages:
            return False
        return self.hybrid or manifest.layout_object.by_language

    def dense(
        self, manifest: CollectionManifest, vectors: Matrix, languages: Sequence[str | None]
    ) -> tuple[list[Vector], list[str]]:
        """The dense vectors of questions, and the names of those that they meet.

        Args:
            manifest: of the collection.
            vectors: E(x) of n questions, (n, dimension).
            languages: of the questions.
        """
        layout, known = manifest.layout_object, manifest.languages
        alpha = manifest.alpha if self.alpha is None else self.alpha
        if not self.augmented:
            alpha = 0.0
        asked = [
            layout.question_vector(vector, language, known, alpha=alpha, weights=self.weights)
            for vector, language in zip(vectors, languages, strict=True)
        ]
        plain = layout.plain_vector()
        if not self.augmented and plain is not None:
            return asked, [plain] * len(asked)
        return asked, [layout.search_vector(language, known) for language in languages]

    def perfect(
        self,
        manifest: CollectionManifest,
        vectors: Matrix,
        languages: Sequence[str | None],
        mean_queries: float,
    ) -> list[float]:
        """The dense score of a perfect match of each question: a passage whose texts all ask it.

        Where the best of a passage's texts counts, :data:`~xqg_qdrant.hybrid.MAXSIM_PERFECT` times
        the question's score with itself.

        Args:
            manifest: of the collection.
            vectors: E(x) of n questions, (n, dimension).
            languages: of the questions.
            mean_queries: of the sums in the passages' vectors.
        """
        layout, known = manifest.layout_object, manifest.languages
        if self.augmented and layout.multivectors and known:
            return [MAXSIM_PERFECT * float(vector @ vector) for vector in vectors]
        alpha = manifest.alpha if self.alpha is None else self.alpha
        summed = mean_queries * (1.0 if self.weights is None else sum(self.weights.values()))
        summing = self.augmented and layout.sums(known) > 0
        masses = [
            total_mass(alpha, summed)
            if summing and (not layout.by_language or self.weights or language in known)
            else 1.0
            for language in languages
        ]
        return [float(vector @ vector) * m for vector, m in zip(vectors, masses, strict=True)]

    def sparse(
        self, manifest: CollectionManifest, texts: Sequence[str], languages: Sequence[str | None]
    ) -> list[SparseVector]:
        """The lexical vectors of questions to a hybrid collection."""
        assert manifest.lexical is not None
        lexical = Lexical(manifest.lexical, {})
        return [
            lexical.question_vector(text, self._weights(language, manifest.languages))
            for text, language in zip(texts, languages, strict=True)
        ]

    def _weights(self, language: str | None, known: Sequence[str]) -> Mapping[str, float]:
        if not self.augmented:
            return {}
        if self.weights is not None:
            return self.weights
        return {language: 1.0} if language is not None and language in known else {}


class Detectors:
    """Language detectors by the languages of collections, made once; for several threads."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, ...], LanguageDetector] = {}
        self._lock = threading.Lock()

    def fill(
        self, texts: Sequence[str], languages: Sequence[str | None], known: tuple[str, ...]
    ) -> list[str | None]:
        """The languages, those that are None detected among the known ones and English."""
        if None not in languages:
            return list(languages)
        with self._lock:
            if known not in self._made:
                # English is always among them: passages are, and questions may be.
                self._made[known] = LanguageDetector({*known, "en"})
            detector = self._made[known]
        return [
            detector.detect(text) if language is None else language
            for text, language in zip(texts, languages, strict=True)
        ]


def languages_of(texts: Sequence[str], lang: str | Sequence[str | None] | None) -> list[str | None]:
    """The language of each question, from one code for all, one for each, or None.

    Raises:
        InputError: a code is unknown, or there is not one for each.
    """
    if lang is None or isinstance(lang, str):
        return [None if lang is None else normalize_language(lang)] * len(texts)
    if not isinstance(lang, Sequence):
        raise InputError(f"lang is a {type(lang).__name__}: give one code, or a list of one each")
    if len(lang) != len(texts):
        raise InputError(f"{len(texts)} questions but {len(lang)} languages: give one each")
    return [None if code is None else normalize_language(code) for code in lang]


def _checked(weights: Mapping[str, float], known: Sequence[str]) -> dict[str, float]:
    checked = {}
    if not isinstance(weights, Mapping):
        raise InputError(
            f"language_weights is a {type(weights).__name__}: give numbers by language code"
        )
    for code, weight in weights.items():
        language = normalize_language(code)
        if language not in known:
            there = ", ".join(known) or "none"
            raise InputError(f"no queries in {language!r} to weigh: the collection has {there}")
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise InputError(f"the weight of {language!r} is {weight!r}: give a number")
        if not 0.0 <= weight <= _LARGEST_WEIGHT:
            told = "out of range" if isinstance(weight, int) else str(weight)
            raise InputError(
                f"the weight of {language!r} is {told}: give 0 or more, "
                f"{_LARGEST_WEIGHT:,.0f} at most"
            )
        checked[language] = float(weight)
    return checked
