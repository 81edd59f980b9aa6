from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xqg_qdrant.errors import InputError
from xqg_qdrant.fusion import Matrix, Vector, fuse
from xqg_qdrant.layouts import DEFAULT_LAYOUT, LAYOUTS, Encodings, layout_named

LANGUAGES = ["ar", "de", "sw"]
DIMENSION = 6
BAKED = [name for name, layout in LAYOUTS.items() if layout.default_alpha and not layout.tunable]

query_languages = st.lists(st.sampled_from(LANGUAGES), max_size=10)
seeds = st.integers(0, 2**32 - 1)
alphas = st.floats(0, 1)


def draw(seed: int, queries: int) -> tuple[Vector, Matrix]:
    rng = np.random.default_rng(seed)
    passage = rng.standard_normal(DIMENSION).astype(np.float32)
    return passage, rng.standard_normal((queries, DIMENSION)).astype(np.float32)


@given(seed=seeds, spoken=query_languages, alpha=alphas)
def test_per_language_vectors_are_fused_with_that_languages_queries_alone(
    seed: int, spoken: list[str], alpha: float
) -> None:
    passage, queries = draw(seed, len(spoken))
    vectors = layout_named("per-language").point_vectors(
        passage, queries, spoken, alpha=alpha, languages=LANGUAGES
    )
    for language in LANGUAGES:
        own = [row for row, each in enumerate(spoken) if each == language]
        np.testing.assert_array_equal(
            vectors[f"fused-{language}"], fuse(passage, queries[own], alpha)
        )
    np.testing.assert_array_equal(vectors["passage"], passage)


@given(seed=seeds, spoken=query_languages, alpha=alphas)
def test_the_fused_vector_is_over_the_queries_of_every_language(
    seed: int, spoken: list[str], alpha: float
) -> None:
    passage, queries = draw(seed, len(spoken))
    vectors = layout_named("fused").point_vectors(
        passage, queries, spoken, alpha=alpha, languages=LANGUAGES
    )
    assert list(vectors) == ["fused"]
    np.testing.assert_array_equal(vectors["fused"], fuse(passage, queries, alpha))


@pytest.mark.parametrize("layout", BAKED)
@given(seed=seeds, spoken=query_languages)
def test_with_alpha_0_every_vector_is_the_plain_passage(
    layout: str, seed: int, spoken: list[str]
) -> None:
    passage, queries = draw(seed, len(spoken))
    vectors = layout_named(layout).point_vectors(
        passage, queries, spoken, alpha=0.0, languages=LANGUAGES
    )
    assert {vector.tobytes() for vector in vectors.values()} == {passage.tobytes()}


@pytest.mark.parametrize("layout", LAYOUTS)
@given(
    seed=seeds,
    spoken=query_languages,
    languages=st.lists(st.sampled_from(LANGUAGES), unique=True),
    asked=st.sampled_from([None, *LANGUAGES, "ja"]),
    alpha=alphas,
)
def test_every_point_has_every_vector_and_searches_find_theirs(
    layout: str,
    seed: int,
    spoken: list[str],
    languages: list[str],
    asked: str | None,
    alpha: float,
) -> None:
    chosen = layout_named(layout)
    known = [language for language in spoken if language in languages]
    passage, queries = draw(seed, len(known))
    vectors = chosen.point_vectors(passage, queries, known, alpha=alpha, languages=languages)
    names = chosen.vector_names(languages)
    dimensions = chosen.dimensions(DIMENSION, languages)
    assert list(vectors) == names == list(dimensions)
    assert all(each.dtype == np.float32 for each in vectors.values())
    assert all(vectors[name].shape[-1] == dimensions[name] for name in names)
    rows = {name for name in names if vectors[name].ndim == 2}
    assert rows == chosen.multivectors
    assert all(len(vectors[name]) == 1 + len(known) for name in rows)
    assert chosen.search_vector(asked, languages) in names
    assert chosen.plain_vector() in [*names, None]


def test_a_question_is_scored_by_its_own_languages_vector() -> None:
    layout = layout_named("per-language")
    assert layout.search_vector("de", LANGUAGES) == "fused-de"
    assert layout.search_vector("sw", LANGUAGES) == "fused-sw"


@pytest.mark.parametrize("language", ["ja", None])
def test_a_question_in_a_language_without_queries_is_scored_by_the_passage(
    language: str | None,
) -> None:
    layout = layout_named("per-language")
    assert layout.search_vector(language, LANGUAGES) == layout.plain_vector() == "passage"


def test_the_fused_layout_has_one_vector_for_all() -> None:
    layout = layout_named("fused")
    assert {layout.search_vector(each, LANGUAGES) for each in [*LANGUAGES, None]} == {"fused"}
    assert layout.plain_vector() is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_answers_to_its_name(layout: str) -> None:
    assert layout_named(layout).name == layout
    assert 0 <= layout_named(layout).hybrid_alpha <= layout_named(layout).default_alpha < 1


def test_the_default_is_a_layout() -> None:
    assert layout_named(DEFAULT_LAYOUT).name == DEFAULT_LAYOUT


@pytest.mark.parametrize("name", ["", "Fused", "per_language", "multi"])
def test_an_unknown_layout_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match="choose one of fused, per-language"):
        layout_named(name)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_queries_of_another_dimension_are_refused(layout: str) -> None:
    passage, _ = draw(0, 0)
    with pytest.raises(InputError):
        layout_named(layout).point_vectors(
            passage,
            np.ones((2, DIMENSION + 1), dtype=np.float32),
            ["de", "de"],
            alpha=0.5,
            languages=LANGUAGES,
        )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("queries", "spoken"), [(2, ["de"]), (0, ["de"]), (2, ["de", "de", "ar"]), (1, [])]
)
def test_each_query_has_one_language(layout: str, queries: int, spoken: list[str]) -> None:
    passage, vectors = draw(0, queries)
    with pytest.raises(InputError, match="languages"):
        layout_named(layout).point_vectors(passage, vectors, spoken, alpha=0.5, languages=LANGUAGES)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(seed=seeds, counts=st.lists(st.lists(st.sampled_from(LANGUAGES), max_size=4), min_size=1))
def test_a_batch_has_the_vectors_of_its_points(
    layout: str, seed: int, counts: list[list[str]]
) -> None:
    chosen = layout_named(layout)
    rng = np.random.default_rng(seed)
    passages = rng.standard_normal((len(counts), DIMENSION)).astype(np.float32)
    spoken = [language for each in counts for language in each]
    queries = rng.standard_normal((len(spoken), DIMENSION)).astype(np.float32)
    owners = np.repeat(np.arange(len(counts)), [len(each) for each in counts])
    batch = Encodings(passages, queries, owners, spoken)
    named = chosen.batch_vectors(batch, alpha=0.3, languages=LANGUAGES)
    for row, own in enumerate(counts):
        alone = chosen.point_vectors(
            passages[row], queries[owners == row], own, alpha=0.3, languages=LANGUAGES
        )
        for name, vector in alone.items():
            np.testing.assert_array_equal(named[name][row], vector)


def score(
    layout: str,
    passage: Vector,
    queries: Matrix,
    spoken: list[str],
    question: Vector,
    language: str | None,
    **choices: Any,
) -> float:
    """What a point of the layout scores for a question, without an engine."""
    chosen = layout_named(layout)
    alpha = choices.get("alpha", 0.1)
    vectors = chosen.point_vectors(passage, queries, spoken, alpha=alpha, languages=LANGUAGES)
    asked = chosen.question_vector(
        question, language, LANGUAGES, alpha=alpha, weights=choices.get("weights")
    )
    return float(np.max(vectors[chosen.search_vector(language, LANGUAGES)] @ asked))


@given(
    seed=seeds,
    spoken=query_languages,
    alpha=alphas,
    language=st.sampled_from([None, *LANGUAGES, "ja"]),
)
def test_tunable_scores_as_per_language_does_at_any_alpha(
    seed: int, spoken: list[str], alpha: float, language: str | None
) -> None:
    passage, queries = draw(seed, len(spoken))
    question, _ = draw(seed + 1, 0)
    one, other = (
        score(layout, passage, queries, spoken, question, language, alpha=alpha)
        for layout in ("tunable", "per-language")
    )
    assert one == pytest.approx(other, abs=1e-4)


@given(seed=seeds, spoken=query_languages, alpha=alphas)
def test_tunable_with_all_languages_scores_as_fused_does(
    seed: int, spoken: list[str], alpha: float
) -> None:
    passage, queries = draw(seed, len(spoken))
    question, _ = draw(seed + 1, 0)
    everyone = dict.fromkeys(LANGUAGES, 1.0)
    one = score("tunable", passage, queries, spoken, question, "de", alpha=alpha, weights=everyone)
    assert one == pytest.approx(
        score("fused", passage, queries, spoken, question, "de", alpha=alpha), abs=1e-4
    )


@given(seed=seeds, spoken=query_languages, weights=st.lists(alphas, min_size=3, max_size=3))
def test_tunable_weighs_each_language_as_told(
    seed: int, spoken: list[str], weights: list[float]
) -> None:
    passage, queries = draw(seed, len(spoken))
    question, _ = draw(seed + 1, 0)
    by_language = dict(zip(LANGUAGES, weights, strict=True))
    total = 0.7 * (passage @ question) * (any(weights) or 1 / 0.7)
    for query, language in zip(queries, spoken, strict=True):
        total += 0.3 * by_language[language] * (query @ question)
    one = score("tunable", passage, queries, spoken, question, None, alpha=0.3, weights=by_language)
    assert one == pytest.approx(total, abs=1e-4)


@given(seed=seeds, spoken=query_languages)
def test_a_multivector_scores_by_the_best_of_passage_and_queries(
    seed: int, spoken: list[str]
) -> None:
    passage, queries = draw(seed, len(spoken))
    question, _ = draw(seed + 1, 0)
    best = max(float(each @ question) for each in [passage, *queries])
    found = score("multivector", passage, queries, spoken, question, "de", alpha=0.0)
    assert found == pytest.approx(best, abs=1e-5)


def test_alpha_is_the_default_unless_given() -> None:
    assert layout_named("per-language").chosen_alpha(None, hybrid=False) == 0.1
    assert layout_named("per-language").chosen_alpha(None, hybrid=True) == 0.01
    assert layout_named("fused").chosen_alpha(0.3, hybrid=True) == 0.3
    assert layout_named("multivector").chosen_alpha(0.0, hybrid=False) == 0.0
    with pytest.raises(InputError, match="has no alpha"):
        layout_named("multivector").chosen_alpha(0.1, hybrid=False)
    with pytest.raises(InputError, match="from 0"):
        layout_named("fused").chosen_alpha(1.5, hybrid=False)


def test_an_encoder_may_have_alphas_of_its_own() -> None:
    own = {"per-language": {"dense": 0.05}, "fused": {"hybrid": 0.002}, "multivector": {"dense": 1}}

    def alpha(layout: str, *, hybrid: bool, given: float | None = None) -> float:
        return layout_named(layout).chosen_alpha(given, hybrid=hybrid, defaults=own)

    assert alpha("per-language", hybrid=False) == alpha("tunable", hybrid=False) == 0.05
    assert alpha("per-language", hybrid=True) == alpha("tunable", hybrid=True) == 0.01
    assert alpha("fused", hybrid=False) == 0.01
    assert alpha("fused", hybrid=True) == 0.002
    assert alpha("fused", hybrid=True, given=0.3) == 0.3
    assert alpha("multivector", hybrid=False) == 0.0
