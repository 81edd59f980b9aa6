"""Vectors of passages and queries read from collections, so that experiments encode neither.

Layout ``tunable`` keeps E(p) and each language's sum S_l. ``per-language`` keeps E(p) and
``F_l = (1 - alpha) E(p) + alpha S_l``, of which the sum follows: ``S_l = (F_l - (1 - alpha) E(p))
/ alpha``, to the rounding of F_l to float32 over alpha. ``multivector`` keeps each query's own
vector. ``fused`` keeps one sum of all of it, of which nothing can be had back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from xqg_qdrant.collection import CollectionManifest, hit_from_payload
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.points import Point
from xqg_qdrant.errors import CollectionMismatch, InputError
from xqg_qdrant.evaluation.additions import Added, SingleVectors, SummedVectors
from xqg_qdrant.evaluation.trials import Addition, Asked, Trial
from xqg_qdrant.fusion import Matrix
from xqg_qdrant.layouts import MULTIVECTOR, PASSAGE_VECTOR, TUNABLE_VECTOR, layout_named
from xqg_qdrant.lexical import LexicalSettings
from xqg_qdrant.loader.documents import read_journal, read_lengths, read_manifest
from xqg_qdrant.records import Passage, Question

if TYPE_CHECKING:
    from xqg_qdrant.models.encoder import Encoder

SUMS = ("tunable", "per-language", "multivector")
"""Layouts that sums over the queries of each language can be had from."""

SINGLES = ("multivector",)
"""Layouts that each query's own vector can be had from."""

LEAK = 0.1
"""Most of the questions that may stand among the queries of their own passages."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What collections keep, one a fold.

    Attributes:
        trial: with the collections' passages and queries, and each question in the fold whose
            queries it is not among.
        passages: E(p) of each fold, (n, dimension), in the order of the points' ids.
        queries: their vectors or sums.
        lengths: mean lengths of the lexical fields of each fold; empty where not hybrid.
        manifests: of each fold.
        met: questions that are word for word among the queries of their passage in every fold.
    """

    trial: Trial
    passages: tuple[Matrix, ...]
    queries: Added
    lengths: tuple[Mapping[str, float], ...]
    manifests: tuple[CollectionManifest, ...]
    met: int

    @property
    def hybrid(self) -> bool:
        """Whether the collections have a lexical side."""
        return self.manifests[0].hybrid

    @property
    def lexical(self) -> LexicalSettings:
        """How the lexical vectors are made; as this release does it where there are none."""
        return self.manifests[0].lexical or LexicalSettings()


def read_manifests(
    engine: Engine, names: Sequence[str], *, singles: bool = False
) -> tuple[CollectionManifest, ...]:
    """The manifests of collections that are the folds of one experiment.

    Args:
        engine: where they are.
        names: of the collections.
        singles: each query's own vector is needed.

    Raises:
        CollectionNotFound: there is no such collection.
        CollectionMismatch: they were not built alike, or one is unfinished.
        InputError: their layout does not keep what is needed.
    """
    manifests: list[CollectionManifest] = []
    for name in names:
        engine.require(name)
        manifest = read_manifest(engine, name)
        _require_kept(manifest, name, singles=singles)
        journal = read_journal(engine, name)
        if journal is not None and not journal.complete:
            raise CollectionMismatch(
                f"collection {name!r} is not finished, {journal.done:,} of {journal.total:,} "
                "passages are in: finish its ingest first"
            )
        first = manifests[0] if manifests else manifest
        for field in ("encoder_fingerprint", "layout", "alpha", "lexical"):
            mine, theirs = getattr(first, field), getattr(manifest, field)
            if mine != theirs:
                raise CollectionMismatch(
                    f"collections {names[0]!r} and {name!r} are no folds of one experiment: their "
                    f"{field} differs ({mine!r}, {theirs!r})"
                )
        manifests.append(manifest)
    return tuple(manifests)


def read_stored(
    engine: Engine,
    names: Sequence[str],
    trial: Trial,
    encoder: Encoder,
    *,
    singles: bool = False,
) -> Stored:
    """Read a trial's passages and queries from collections.

    With several collections, folds, each question is asked of the first one in which it is not
    among the queries of its own passage, as ``xqg eval xquad-r --augment questions`` lays them.

    Args:
        engine: where the collections are.
        names: one collection, or one a fold.
        trial: the questions, and the passages that the collections must hold.
        encoder: of the questions.
        singles: each query's own vector is needed.

    Raises:
        CollectionNotFound: there is no such collection.
        CollectionMismatch: the encoder is another than the collections', or they hold other
            passages than the data set.
        InputError: their layout does not keep what is needed, there are no queries, or too many
            questions are among the queries of their own passages.
    """
    names = [engine.resolve(name) for name in names]  # an alias may move meanwhile
    manifests = read_manifests(engine, names, singles=singles)
    manifest = manifests[0]
    if encoder.fingerprint != manifest.encoder_fingerprint:
        raise CollectionMismatch(
            f"collection {names[0]!r} was built with encoder {manifest.encoder!r} "
            f"({manifest.encoder_fingerprint[:12]}…), this is {encoder.name!r} "
            f"({encoder.fingerprint[:12]}…): their vectors cannot be compared. Leave --encoder out"
        )
    pool: list[Passage] = []
    passages: list[Matrix] = []
    additions: list[Addition] = []
    sums: dict[tuple[int, str], Matrix] = {}
    vectors: list[Matrix] = []
    for fold, (name, each) in enumerate(zip(names, manifests, strict=True)):
        points = sorted(engine.scroll(name, with_vectors=True), key=lambda point: point.id)
        pool = _pool(points, trial, name)
        passages.append(_passages(points, each))
        additions += _additions(points, fold)
        if each.layout in SINGLES:
            vectors += [_matrix(point, MULTIVECTOR)[1:] for point in points]
        else:
            found = _sums(points, each)
            sums.update({(fold, language): matrix for language, matrix in found.items()})
    if not additions:
        raise InputError(f"collection {names[0]!r} has no queries: there is nothing to vary")
    rows = {passage.id: row for row, passage in enumerate(pool)}
    queries: Added
    if manifest.layout in SINGLES:
        queries = SingleVectors(np.concatenate(vectors), additions, rows)
    else:
        queries = SummedVectors(sums, f"layout {manifest.layout!r} of collection {names[0]!r}")
    asked, met = _fold_questions(trial, additions, len(names))
    if met > LEAK * len(asked):
        raise InputError(
            f"{met:,} of {len(asked):,} questions are word for word among the queries of their own "
            f"passages in {', '.join(map(repr, names))}, and would find themselves: give the "
            "collections of both folds (--collection twice; 'xqg eval xquad-r --augment questions "
            "--to' makes them), or one with generated queries"
        )
    return Stored(
        replace(trial, passages=pool, queries=additions, asked=asked),
        tuple(passages),
        queries,
        tuple(
            read_lengths(engine, name) if manifest.hybrid else {}
            for name, manifest in zip(names, manifests, strict=True)
        ),
        manifests,
        met,
    )


def _require_kept(manifest: CollectionManifest, name: str, *, singles: bool) -> None:
    wanted = SINGLES if singles else SUMS
    layout = f"collection {name!r} has layout {manifest.layout!r}"
    if manifest.layout not in wanted:
        what = "each query's own vector" if singles else "the passage apart from its queries"
        raise InputError(
            f"{layout}, which does not keep {what}: this needs layout "
            f"{' or '.join(map(repr, wanted))}"
        )
    fused = layout_named(manifest.layout).default_alpha and manifest.layout != "tunable"
    if fused and not manifest.alpha:
        raise InputError(
            f"{layout} and alpha 0: its queries left no trace in its vectors; build it with "
            "another alpha, or with layout 'tunable'"
        )


def _pool(points: Sequence[Point], trial: Trial, name: str) -> list[Passage]:
    """The collection's passages, which must be the data set's."""
    hits = [hit_from_payload(point.payload, 0.0) for point in points]
    here = {hit.id: hit.text for hit in hits}
    there = {passage.id: passage.text for passage in trial.passages}
    if here.keys() != there.keys():
        odd = sorted(here.keys() ^ there.keys())[0]
        which = "collection" if odd in here else "data set"
        raise CollectionMismatch(
            f"collection {name!r} has {len(here):,} passages, data set {trial.name} has "
            f"{len(there):,}, and they are not the same: {odd!r} is in the {which} alone"
        )
    for passage_id, text in here.items():
        if text != there[passage_id]:
            raise CollectionMismatch(
                f"the text of passage {passage_id!r} is another in collection {name!r} than in "
                f"data set {trial.name}: build the collection from this data"
            )
    return [Passage(id=hit.id, text=hit.text, title=hit.title, lang=hit.lang) for hit in hits]


def _additions(points: Sequence[Point], fold: int) -> list[Addition]:
    """The queries of all points, in the order of their rows in a multivector."""
    return [
        Addition(point.payload["passage_id"], row["lang"], row["text"], fold)
        for point in points
        for row in point.payload["queries"]
    ]


def _matrix(point: Point, name: str) -> Matrix:
    vector = point.vectors[name]
    assert isinstance(vector, np.ndarray)
    return vector


def _passages(points: Sequence[Point], manifest: CollectionManifest) -> Matrix:
    name = TUNABLE_VECTOR if manifest.layout_object.tunable else PASSAGE_VECTOR
    return np.stack([_matrix(point, name)[: manifest.dimension] for point in points])


def _sums(points: Sequence[Point], manifest: CollectionManifest) -> dict[str, Matrix]:
    """Each language's sums, (n, dimension)."""
    layout, languages = manifest.layout_object, manifest.languages
    if layout.tunable:
        size = manifest.dimension
        rows = np.stack([_matrix(point, TUNABLE_VECTOR) for point in points])
        return {
            language: rows[:, size * place : size * (place + 1)]
            for place, language in enumerate(languages, 1)
        }
    kept = (1.0 - manifest.alpha) * _passages(points, manifest).astype(np.float64)
    sums = {}
    for language in languages:
        name = layout.search_vector(language, languages)
        fused = np.stack([_matrix(point, name) for point in points])
        sums[language] = ((fused - kept) / manifest.alpha).astype(np.float32)
    return sums


def _fold_questions(
    trial: Trial, additions: Sequence[Addition], folds: int
) -> tuple[list[Asked], int]:
    """Each question in the first fold where it does not meet itself, and how many always do."""
    passages: dict[str, set[str]] = {}
    for qrel in trial.qrels:
        if qrel.relevance > 0:
            passages.setdefault(qrel.question_id, set()).add(qrel.passage_id)
    known = {(each.fold, each.passage_id, each.lang, each.text) for each in additions}

    def meets(question: Question, fold: int) -> bool:
        return any(
            (fold, passage, question.lang, question.text) in known
            for passage in passages.get(question.id, ())
        )

    asked, met = [], 0
    for each in trial.asked:
        free = [fold for fold in range(folds) if not meets(each.question, fold)]
        met += not free
        asked.append(replace(each, fold=free[0] if free else 0))
    return asked, met
