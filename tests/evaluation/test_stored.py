"""Experiments on collections: what a search of them gives, from vectors read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engine.conftest import ENGINES, open_named
from tests.tiny import build_encoder
from tests.xquad import paragraph, write_language
from xqg_qdrant import Client, Encoder
from xqg_qdrant.corpus.xquad_r import read_xquad_r
from xqg_qdrant.engine import open_engine
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.errors import CollectionMismatch, CollectionNotFound, InputError
from xqg_qdrant.evaluation.augmentations import compare_augmentations
from xqg_qdrant.evaluation.bench import Bench, Setting, System, among
from xqg_qdrant.evaluation.experiments import (
    MULTIVECTOR,
    NONE,
    QUERIES,
    SENTENCES,
    TUNABLE,
    sweep_alpha,
    sweep_languages,
    sweep_queries,
)
from xqg_qdrant.evaluation.lexical_side import LexicalSide
from xqg_qdrant.evaluation.measures import MEASURES, JudgedRun, rows_of, score
from xqg_qdrant.evaluation.stored import Stored, read_stored
from xqg_qdrant.evaluation.trials import Trial, open_trial
from xqg_qdrant.evaluation.xquad_r import retrieve_xquad_r
from xqg_qdrant.lexical import SPARSE_VECTOR, Lexical, LexicalSettings
from xqg_qdrant.records import GeneratedQuery, Passage

RIVERS = ("Nile", "Danube", "Volga", "Rhine", "Congo", "Amur", "Niger", "Loire")


@pytest.fixture(scope="module")
def rivers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """XQuAD-R about rivers, whose names are in the questions of every language."""
    folder = tmp_path_factory.mktemp("data") / "rivers"
    folder.mkdir()
    words = {"en": "how long is the {}?", "de": "wie lang ist {}?", "ru": "сколько длится {}?"}
    for language, words_of in words.items():
        articles = []
        for number, river in enumerate(RIVERS):
            text = f"The {river} is {number} miles long. It carries sand, report {number % 3}."
            asked = {
                f"{number}-{n}": words_of.format(river) + f" {n}" * n for n in range(2 + number % 3)
            }
            sentences = [part + "." for part in text[:-1].split(". ")]
            articles.append([paragraph(text, asked, sentences)])
        write_language(folder, language, *articles)
    return folder


def same(ours: JudgedRun, theirs: JudgedRun) -> None:
    """The same passages with the same scores; where scores are equal, in whatever order."""
    assert ours.run.keys() == theirs.run.keys()
    for question, found in ours.run.items():
        other = theirs.run[question]
        assert [hit.score for hit in found] == pytest.approx(
            [hit.score for hit in other], abs=1e-4
        ), question
        scores = {hit.id: hit.score for hit in other}
        last = other[-1].score
        for hit in found:
            assert scores.get(hit.id, last) == pytest.approx(hit.score, abs=1e-4), question


@dataclass
class Place:
    """An engine with a client, and the data set that its collections hold; they are made once."""

    engine: Engine
    client: Client
    folder: Path
    encoder: Encoder

    @property
    def trial(self) -> Trial:
        return open_trial(self.folder, augmented=False)

    def ingest(self, fold: int | None = None, **options: Any) -> str:
        """Load the paragraphs, with the questions of a fold, or with other queries."""
        name = "-".join(f"{key}-{value}" for key, value in {"fold": fold, **options}.items())
        if name in self.client.collections():
            return name
        data = read_xquad_r(self.folder)
        queries = [
            GeneratedQuery(
                placed.passage_id,
                placed.question.lang,
                placed.question.text + ("" if fold is not None else " then"),
            )
            for placed in data.questions
            if fold is None or placed.position % 2 == fold
        ]
        self.client.ingest(name, data.passages, queries, **options)
        return name

    def folds(self, **options: Any) -> list[str]:
        """Collections of both folds; the questions of fold 0 are asked of the first."""
        return [self.ingest(fold, **options) for fold in (1, 0)]

    def stored(self, *names: str, singles: bool = False) -> Stored:
        return read_stored(self.engine, names, self.trial, self.encoder, singles=singles)

    def bench(self, *names: str, singles: bool = False) -> Bench:
        stored = self.stored(*names, singles=singles)
        return Bench(self.encoder, stored.trial, stored=stored)

    def search(self, bench: Bench, *names: str, **options: Any) -> JudgedRun:
        """What searches of the collections find for the bench's questions."""
        run = {}
        for fold, name in enumerate(names):
            asked = [each.question for each in bench.trial.asked if each.fold == fold]
            found = self.client.search_batch(
                name,
                [question.text for question in asked],
                lang=[question.lang for question in asked],
                exact=True,
                **options,
            )
            run.update({question.id: hits for question, hits in zip(asked, found, strict=True)})
        return JudgedRun("searched", (), run, {})


@pytest.fixture(scope="module", params=ENGINES)
def place(
    rivers: Path,
    tiny_encoder: Encoder,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Place]:
    with open_named(request.param, tmp_path_factory.mktemp("engine")) as engine:
        before = set(engine.collections())
        yield Place(engine, Client(engine, encoder=tiny_encoder), rivers, tiny_encoder)
        for name in set(engine.collections()) - before:
            engine.delete(name)


@pytest.fixture(scope="module")
def encoded(rivers: Path, tiny_encoder: Encoder) -> Bench:
    return Bench(tiny_encoder, open_trial(rivers, sentences=True))


SYSTEMS: dict[str, tuple[System, dict[str, Any]]] = {
    "per-language": (QUERIES, {"layout": "per-language", "alpha": 0.3}),
    "fused": (
        replace(QUERIES, languages=among(["de", "en", "ru"])),
        {"layout": "fused", "alpha": 0.3},
    ),
    "tunable": (QUERIES, {"layout": "tunable"}),
    "multivector": (MULTIVECTOR, {"layout": "multivector"}),
}


@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("name", list(SYSTEMS))
def test_in_memory_and_in_collections_the_same_is_found(
    place: Place, encoded: Bench, name: str, hybrid: bool
) -> None:
    """Dense and lexical scores, the idf and the fusion: all hits of all questions."""
    system, options = SYSTEMS[name]
    names = place.folds(**options, hybrid=True)
    tuned = {"alpha": 0.3} if name == "tunable" else {}
    [ours] = encoded.runs(replace(system, hybrid=hybrid), [Setting(0.3)], depth=10)
    same(ours, place.search(encoded, *names, hybrid=hybrid, **tuned))


def test_alone_and_beside_its_sentences_a_passage_scores_as_in_a_collection(
    place: Place, encoded: Bench, rivers: Path
) -> None:
    data = read_xquad_r(rivers)
    options: dict[str, Any] = {"hybrid": True, "measures": MEASURES}
    none = retrieve_xquad_r(place.client, data, augment="none", **options)
    sentences = retrieve_xquad_r(place.client, data, augment="sentences", alpha=0.3, **options)
    for system, theirs in ((NONE, none), (SENTENCES, sentences)):
        [ours] = encoded.runs(replace(system, hybrid=True), [Setting(0.3)], depth=10)
        same(ours, theirs)
        ours_rows, their_rows = (rows_of(score(run, MEASURES)) for run in (ours, theirs))
        assert [row.value for row in ours_rows] == pytest.approx([row.value for row in their_rows])


def test_passages_without_words_do_not_count_for_the_idf(tiny_encoder: Encoder) -> None:
    passages = [Passage("a", "Danube and Rhine"), Passage("b", "!!"), Passage("c", "the Rhine")]
    vector = Lexical(LexicalSettings(), {}).question_vector("Danube", {})
    with open_engine(":memory:") as engine:
        Client(engine, encoder=tiny_encoder).ingest("c", passages, hybrid=True)
        [found] = engine.search("c", [vector], using=[SPARSE_VECTOR])
    [scores] = LexicalSide(passages).scores(["Danube"], {})
    assert [hit.payload["passage_id"] for hit in found] == ["a"]
    assert found[0].score == pytest.approx(float(scores[0]), rel=1e-5)
    assert scores.tolist()[1:] == [0.0, 0.0]
    assert LexicalSide(passages).scores(["?"], {}).tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("hybrid", [False, True])
def test_a_tunable_collection_is_swept_as_it_would_be_searched(place: Place, hybrid: bool) -> None:
    """Alpha and the languages' weights, all from one index, two folds of it."""
    names = place.folds(layout="tunable", hybrid=True)
    bench = place.bench(*names)
    own = replace(QUERIES, hybrid=hybrid)
    alphas = (0.0, 0.1, 0.7, 1.0)
    for alpha, ours in zip(alphas, bench.runs(own, [*map(Setting, alphas)], depth=10), strict=True):
        same(ours, place.search(bench, *names, alpha=alpha, hybrid=hybrid))
    for weights in ({"en": 1.0}, {"en": 1.0, "ru": 1.0}):
        heard = among(sorted(weights))
        system = replace(own, languages=heard, heard=heard)
        [ours] = bench.runs(system, [Setting(0.2)], depth=10)
        options = {"alpha": 0.2, "language_weights": weights, "hybrid": hybrid}
        same(ours, place.search(bench, *names, **options))
    [ours] = bench.runs(replace(TUNABLE, hybrid=hybrid), [Setting(0.2, rest=0.25)], depth=10)
    for language in ("de", "en", "ru"):
        weights = {each: 1.0 if each == language else 0.25 for each in ("de", "en", "ru")}
        options = {"alpha": 0.2, "language_weights": weights, "hybrid": hybrid}
        theirs = place.search(bench, *names, **options)
        asked = {q for q, of in ours.languages.items() if of == language}
        same(_of(ours, asked), _of(theirs, asked))


def _of(judged: JudgedRun, questions: set[str]) -> JudgedRun:
    return replace(judged, run={q: hits for q, hits in judged.run.items() if q in questions})


@pytest.mark.parametrize(("alpha", "hybrid"), [(0.3, True), (0.3, False), (0.02, False)])
def test_sums_follow_from_a_per_language_collection(
    place: Place, encoded: Bench, alpha: float, hybrid: bool
) -> None:
    names = place.folds(layout="per-language", alpha=alpha, hybrid=alpha == 0.3)
    bench = place.bench(*names)
    system = replace(QUERIES, hybrid=hybrid)
    [ours] = bench.runs(system, [Setting(alpha)], depth=10)
    same(ours, place.search(bench, *names, hybrid=hybrid))
    [plain] = bench.runs(NONE, [Setting()], depth=10)
    same(plain, place.search(bench, *names, augmented=False, hybrid=False))
    # Another alpha than it was built with: as if it had been built with that one.
    other = [Setting(0.15)]
    same(bench.runs(system, other, depth=10)[0], encoded.runs(system, other, depth=10)[0])


@pytest.mark.parametrize("hybrid", [False, True])
def test_a_multivector_collection_gives_single_queries(
    place: Place, encoded: Bench, hybrid: bool
) -> None:
    names = place.folds(layout="multivector", hybrid=True)
    bench = place.bench(*names, singles=True)
    [ours] = bench.runs(replace(MULTIVECTOR, hybrid=hybrid), [Setting()], depth=10)
    same(ours, place.search(bench, *names, hybrid=hybrid))
    assert bench.most_queries == encoded.most_queries == 2
    for first in (1, 2, None):
        system = replace(QUERIES, first=first, hybrid=hybrid)
        [ours] = bench.runs(system, [Setting(0.2)], depth=10)
        [theirs] = encoded.runs(system, [Setting(0.2)], depth=10)
        same(ours, theirs)


def test_nothing_but_questions_is_encoded(place: Place, tiny_folder: Path) -> None:
    name = place.ingest(layout="tunable")
    encoder = Encoder.load(tiny_folder, threads=1)
    given: list[str] = []

    class Recorded:
        name, dimension, fingerprint = encoder.name, encoder.dimension, encoder.fingerprint
        manifest = encoder.manifest

        def stream(self, texts: Sequence[str], kind: str) -> Any:
            given.extend(texts)
            return encoder.stream(texts, kind)  # type: ignore[arg-type]

    recorded: Any = Recorded()
    stored = read_stored(place.engine, [name], place.trial, recorded)
    Bench(recorded, stored.trial, stored=stored)
    assert given == [each.question.text for each in place.trial.asked]


def test_generated_queries_need_one_collection(place: Place) -> None:
    name = place.ingest(layout="multivector", hybrid=True)
    bench = place.bench(name)
    assert {each.fold for each in bench.trial.asked} == {0}
    found = sweep_alpha(bench, hybrid=True, alphas=(0.1,), measures=["MRR@10"], resamples=0)
    assert found.title == "alpha, per-language, hybrid"
    found = sweep_languages(bench, alpha=0.1, hybrid=True, measures=["MRR@10"], resamples=0)
    assert {row.system for row in found.rows} >= {"none", "English alone", "all languages"}
    found = sweep_queries(bench, alpha=0.1, hybrid=True, measures=["MRR@10"], resamples=0)
    assert "4 queries" in {row.system for row in found.rows}
    found = compare_augmentations(bench, measures=["MRR@10"], resamples=0)
    assert "queries, multivector, hybrid" in {row.system for row in found.rows}


def test_an_alias_will_do(place: Place) -> None:
    name = place.ingest(layout="tunable")
    place.engine.change_aliases({"current": name})
    try:
        assert place.stored("current").manifests == place.stored(name).manifests
    finally:
        place.engine.change_aliases({"current": None})


@pytest.mark.parametrize("layout", ["tunable", "per-language"])
def test_sums_give_no_single_queries(place: Place, layout: str) -> None:
    name = place.ingest(layout=layout)
    with pytest.raises(InputError, match=r"does not keep each query's own.*'multivector'"):
        place.bench(name, singles=True)
    bench = place.bench(name)
    with pytest.raises(InputError, match=r"keeps the sums of its queries.*'multivector'"):
        sweep_queries(bench, alpha=0.1)
    with pytest.raises(InputError, match="keeps the sums"):
        bench.runs(MULTIVECTOR, [Setting()], depth=10)
    found = compare_augmentations(bench, hybrid=False, measures=["MRR@10"], resamples=0)
    assert not any("multivector" in row.system for row in found.rows)


def test_what_cannot_be_read_is_refused(place: Place, tmp_path: Path, rivers: Path) -> None:
    fused = place.ingest(1, layout="fused", alpha=0.3, hybrid=True)
    with pytest.raises(
        InputError, match=r"'fused', which does not keep the passage apart.*tunable"
    ):
        place.bench(fused)
    zero = place.ingest(alpha=0.0)
    with pytest.raises(InputError, match="left no trace"):
        place.bench(zero)
    place.client.ingest("none", read_xquad_r(rivers).passages, layout="tunable")
    with pytest.raises(InputError, match="no queries"):
        place.bench("none")
    with pytest.raises(CollectionNotFound, match="no collection 'nowhere'"):
        place.bench("nowhere")
    good = place.ingest(layout="tunable")
    other = place.ingest(layout="multivector", hybrid=True)
    with pytest.raises(CollectionMismatch, match="no folds of one experiment: their layout"):
        place.bench(good, other)
    stranger = Encoder.load(build_encoder(tmp_path / "stranger", name="stranger", seed=7))
    with pytest.raises(CollectionMismatch, match=r"built with encoder 'tiny'.*this is 'stranger'"):
        read_stored(place.engine, [good], place.trial, stranger)


def test_questions_must_not_find_themselves(place: Place) -> None:
    names = place.folds(layout="tunable", hybrid=True)
    with pytest.raises(InputError, match=r"word for word among the queries of their own.*twice"):
        place.bench(names[0])
    bench = place.bench(*names)
    queries = {(q.fold, q.passage_id, q.lang, q.text) for q in bench.trial.queries}
    answers = {qrel.question_id: qrel.passage_id for qrel in bench.trial.qrels}
    for each in bench.trial.asked:
        question = each.question
        key = each.fold, answers[question.id], question.lang, question.text
        assert key not in queries
    # As the data set's own folds have it.
    folds = {each.question.id: each.fold for each in open_trial(place.folder).asked}
    assert {each.question.id: each.fold for each in bench.trial.asked} == folds


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pool: pool[1:], "is in the collection alone"),
        (lambda pool: [*pool, Passage("p9", "more")], "'p9' is in the data set alone"),
        (lambda pool: [replace(pool[0], text="else"), *pool[1:]], "the text of passage"),
    ],
)
def test_other_passages_are_refused(place: Place, change: Any, message: str) -> None:
    name, trial = place.ingest(layout="tunable"), place.trial
    with pytest.raises(CollectionMismatch, match=message):
        read_stored(
            place.engine,
            [name],
            replace(trial, passages=change(list(trial.passages))),
            place.encoder,
        )


def test_an_unfinished_collection_is_refused(place: Place) -> None:
    name = place.ingest(layout="tunable")
    journal = place.engine.read_document(name, "journal")
    assert journal is not None
    place.engine.write_document(name, "journal", {**journal, "complete": False})
    with pytest.raises(CollectionMismatch, match="is not finished"):
        place.bench(name)
    place.engine.write_document(name, "journal", journal)


@pytest.mark.parametrize("alpha", [0.02, 0.3])
def test_sums_are_had_back_to_rounding(place: Place, alpha: float) -> None:
    """Of what was fused to float32, over alpha."""
    exact = place.stored(*place.folds(layout="tunable", hybrid=True))
    fused = place.folds(layout="per-language", alpha=alpha, hybrid=alpha == 0.3)
    back = place.stored(*fused)
    for fold, language in product((0, 1), exact.queries.languages):
        summed = exact.queries.total([language], fold, None)
        found = back.queries.total([language], fold, None)
        assert summed is not None
        assert found is not None
        assert np.abs(summed).max() > 0
        assert np.abs(summed - found).max() < 2**-23 / alpha
