from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xqg_qdrant.errors import InputError
from xqg_qdrant.fusion import (
    check_alpha,
    fuse,
    fuse_sum,
    grouped_sums,
    query_share,
    sum_queries,
    tunable_passage,
    tunable_query,
)

DIMENSION = 5
ALPHAS = st.floats(0, 1)
LANGUAGES = st.sampled_from(["ar", "de", "sw"])

components = st.floats(-1, 1, width=32)
vectors = arrays(np.float32, DIMENSION, elements=components)


def matrices(low: int = 0, high: int = 8) -> st.SearchStrategy[npt.NDArray[np.float32]]:
    return st.integers(low, high).flatmap(
        lambda rows: arrays(np.float32, (rows, DIMENSION), elements=components)
    )


def test_the_formula_by_hand() -> None:
    fused = fuse([1.0, 0.0, 2.0], [[0.0, 1.0, 1.0], [4.0, 1.0, 3.0]], 0.25)
    assert fused.dtype == np.float32
    assert fused.tolist() == [0.75 + 1.0, 0.5, 1.5 + 1.0]


@given(passage=vectors, queries=matrices())
def test_alpha_0_is_the_plain_passage_exactly(
    passage: npt.NDArray[np.float32], queries: npt.NDArray[np.float32]
) -> None:
    assert fuse(passage, queries, 0.0).tobytes() == passage.tobytes()


@given(passage=vectors, queries=matrices(1))
def test_alpha_1_is_the_sum_of_the_queries_alone(
    passage: npt.NDArray[np.float32], queries: npt.NDArray[np.float32]
) -> None:
    expected = queries.astype(np.float64).sum(axis=0).astype(np.float32)
    np.testing.assert_array_equal(fuse(passage, queries, 1.0), expected)


@given(passage=vectors, alpha=ALPHAS)
def test_without_queries_the_passage_keeps_its_share(
    passage: npt.NDArray[np.float32], alpha: float
) -> None:
    expected = ((1 - alpha) * passage.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(fuse(passage, [], alpha), expected)


@given(passage=vectors, queries=matrices(2), alpha=ALPHAS, data=st.data())
def test_the_order_of_queries_does_not_matter(
    passage: npt.NDArray[np.float32],
    queries: npt.NDArray[np.float32],
    alpha: float,
    data: st.DataObject,
) -> None:
    order = data.draw(st.permutations(range(len(queries))))
    np.testing.assert_allclose(
        fuse(passage, queries[order], alpha), fuse(passage, queries, alpha), rtol=1e-6, atol=1e-12
    )


def test_many_queries_in_any_order_give_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((500, 384)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    passage = queries[0]
    fused = fuse(passage, queries, 0.02)
    for _ in range(20):
        assert fuse(passage, rng.permutation(queries), 0.02).tobytes() == fused.tobytes()


@given(passage=vectors, queries=matrices(), question=vectors, alpha=ALPHAS)
def test_the_tunable_vector_scores_as_the_fused_one_for_any_alpha(
    passage: npt.NDArray[np.float32],
    queries: npt.NDArray[np.float32],
    question: npt.NDArray[np.float32],
    alpha: float,
) -> None:
    stored = tunable_passage(passage, [sum_queries(queries, DIMENSION)])
    asked = tunable_query(question, alpha)
    assert stored.dtype == asked.dtype == np.float32
    assert stored.shape == asked.shape == (2 * DIMENSION,)
    assert asked @ stored == pytest.approx(question @ fuse(passage, queries, alpha), abs=2e-5)


@given(passage=vectors, queries=matrices(), question=vectors)
def test_the_tunable_vector_switched_off_scores_as_the_plain_passage(
    passage: npt.NDArray[np.float32],
    queries: npt.NDArray[np.float32],
    question: npt.NDArray[np.float32],
) -> None:
    score = tunable_query(question, 0.0) @ tunable_passage(
        passage, [sum_queries(queries, DIMENSION)]
    )
    assert score == pytest.approx(question @ passage, abs=1e-6)


@given(queries=matrices(), data=st.data())
def test_grouped_sums_are_over_each_passages_queries_alone(
    queries: npt.NDArray[np.float32], data: st.DataObject
) -> None:
    owner = st.integers(0, 4)
    owners = sorted(data.draw(st.lists(owner, min_size=len(queries), max_size=len(queries))))
    sums = grouped_sums(queries, np.array(owners, dtype=np.intp), (5, DIMENSION))
    assert sums.dtype == np.float64
    for row, total in enumerate(sums):
        own = [query for query, each in zip(queries, owners, strict=True) if each == row]
        np.testing.assert_array_equal(total, sum_queries(own, DIMENSION))


def test_the_sum_of_no_queries_is_zero_in_double_precision() -> None:
    for none in ([], np.zeros((0, DIMENSION), dtype=np.float32)):
        total = sum_queries(none, DIMENSION)
        assert total.dtype == np.float64
        assert total.tolist() == [0.0] * DIMENSION


def test_fusing_leaves_its_input_as_it_was() -> None:
    passage = np.ones(3, dtype=np.float32)
    queries = np.ones((2, 3), dtype=np.float32)
    for alpha in (0.0, 0.5):
        fused = fuse(passage, queries, alpha)
        fused[:] = 7
    assert passage.tolist() == [1, 1, 1]
    assert queries.tolist() == [[1, 1, 1]] * 2


@pytest.mark.parametrize("alpha", [0, 1, 0.5, np.float64(0.25)])
def test_an_alpha_from_0_to_1_is_taken(alpha: float) -> None:
    assert check_alpha(alpha) == alpha
    assert type(check_alpha(alpha)) is float


@pytest.mark.parametrize(
    "alpha",
    [-0.1, 1.0001, float("nan"), float("inf"), -float("inf"), True, "0.5", None, [0.5], 10**400],
)
def test_another_alpha_is_refused_everywhere(alpha: Any) -> None:
    one = np.ones(2, dtype=np.float32)
    for call in (
        lambda: check_alpha(alpha),
        lambda: fuse(one, [], alpha),
        lambda: fuse_sum(one, np.zeros(2), alpha),
        lambda: tunable_query(one, alpha),
        lambda: query_share(alpha, 1),
    ):
        with pytest.raises(InputError, match=r"alpha is .*: give a number from 0"):
            call()


@pytest.mark.parametrize(
    ("passage", "queries", "message"),
    [
        ([[1.0, 2.0]], [], "a passage's vector has shape"),
        (1.0, [], "a passage's vector has shape"),
        ([1.0, 2.0], [1.0, 2.0], "queries have shape"),
        ([1.0, 2.0], [[1.0, 2.0, 3.0]], "queries have shape"),
        ([1.0, 2.0], [[[1.0, 2.0]]], "queries have shape"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(passage: Any, queries: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fuse(passage, queries, 0.5)


@pytest.mark.parametrize(
    ("passage", "sums"),
    [([[1.0, 2.0]], []), (1.0, []), ([1.0, 2.0], [np.ones(3)]), ([1.0, 2.0], [np.ones((1, 2))])],
)
def test_tunable_parts_that_do_not_fit_are_refused(passage: Any, sums: Any) -> None:
    with pytest.raises(InputError, match="has shape"):
        tunable_passage(passage, sums)


@pytest.mark.parametrize(
    ("alpha", "queries", "share"),
    [
        (0.0, 10, 0.0),
        (1.0, 10, 1.0),
        (1.0, 0, 0.0),
        (0.5, 1, 0.5),
        (0.5, 3, 0.75),
        (0.01, 35, 0.26),
        (0.065, 5, 0.26),
    ],
)
def test_the_share_of_the_queries_by_hand(alpha: float, queries: float, share: float) -> None:
    assert query_share(alpha, queries) == pytest.approx(share, abs=0.005)


@given(alpha=ALPHAS, queries=st.integers(0, 1000))
def test_a_share_lies_between_0_and_1_and_grows_with_the_queries(
    alpha: float, queries: int
) -> None:
    assert 0 <= query_share(alpha, queries) <= query_share(alpha, queries + 1) <= 1
