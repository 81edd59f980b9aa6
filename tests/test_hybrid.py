from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xqg_qdrant.hybrid import DEPTH, fuse_rankings

IDS = [f"p{number:03}" for number in range(160)]
rankings = st.lists(
    st.tuples(st.sampled_from(IDS), st.floats(-1, 1, width=32)),
    max_size=120,
    unique_by=lambda hit: hit[0],
).map(lambda hits: sorted(hits, key=lambda hit: (-hit[1], hit[0])))
matches = rankings.map(lambda hits: [(point, 10 + 9 * score) for point, score in hits])


def spread(best: float, others: int = 99) -> list[tuple[str, float]]:
    """A ranking whose best stands out by so much from others that hardly differ."""
    return [("best", best), *((IDS[n], 0.2 - n / 1000) for n in range(others))]


@given(dense=rankings)
def test_without_matches_the_dense_order_stays(dense: list[tuple[str, float]]) -> None:
    assert [point for point, _ in fuse_rankings(dense, [], 200, perfect=1.0)] == [
        point for point, _ in dense
    ]


@given(dense=rankings, lexical=matches, limit=st.integers(1, 50))
def test_the_best_come_first_and_none_twice(
    dense: list[tuple[str, float]], lexical: list[tuple[str, float]], limit: int
) -> None:
    fused = fuse_rankings(dense, lexical, limit, perfect=1.0)
    points = [point for point, _ in fused]
    everyone = {point for point, _ in [*dense, *lexical]}
    assert len(points) == len(set(points)) == min(limit, len(everyone))
    assert set(points) <= everyone
    assert [score for _, score in fused] == sorted((score for _, score in fused), reverse=True)


@given(dense=rankings, lexical=matches)
def test_what_is_better_on_both_sides_is_better(
    dense: list[tuple[str, float]], lexical: list[tuple[str, float]]
) -> None:
    fused = dict(fuse_rankings(dense, lexical, 500, perfect=1.0))
    by_dense, by_terms = dict(dense), dict(lexical)
    listed = [point for point in by_dense if point in by_terms]
    for one in listed:
        for other in listed:
            if by_dense[one] >= by_dense[other] and by_terms[one] >= by_terms[other]:
                assert fused[one] >= fused[other] - 1e-9


@given(dense=rankings, lexical=matches, scale=st.floats(0.01, 100))
def test_the_scale_of_either_side_does_not_matter(
    dense: list[tuple[str, float]], lexical: list[tuple[str, float]], scale: float
) -> None:
    as_is = dict(fuse_rankings(dense, lexical, 500, perfect=1.0))
    scaled = [(point, score * scale) for point, score in lexical]
    assert dict(fuse_rankings(dense, scaled, 500, perfect=1.0)) == pytest.approx(as_is, abs=1e-6)
    scaled = [(point, score * scale) for point, score in dense]
    assert dict(fuse_rankings(scaled, lexical, 500, perfect=scale)) == pytest.approx(
        as_is, abs=1e-6
    )


@given(dense=rankings, lexical=matches, perfect=st.floats(-1, 100))
def test_scores_are_at_most_one(
    dense: list[tuple[str, float]], lexical: list[tuple[str, float]], perfect: float
) -> None:
    for _, score in fuse_rankings(dense, lexical, 500, perfect=perfect):
        assert score <= 1.0 + 1e-9


def test_the_best_of_both_sides_scores_one() -> None:
    assert fuse_rankings(spread(0.9), spread(20.0), 1, perfect=1.0) == [
        ("best", pytest.approx(1.0))
    ]


def test_the_side_whose_best_stands_out_decides() -> None:
    flat = [("other", 0.21), *spread(0.2)[1:], ("best", 0.1)]
    assert fuse_rankings(spread(0.9), flat, 1, perfect=1.0)[0][0] == "best"
    assert fuse_rankings(flat, spread(20.0), 1, perfect=1.0)[0][0] == "best"


def test_a_dense_side_that_stays_far_from_a_perfect_match_is_hardly_heard() -> None:
    """As that of an encoder which does not know the language, whatever the deviations."""
    lexical = [(IDS[7], 30.0), *((IDS[n], 12 - n / 10) for n in range(20, 99))]
    assert fuse_rankings(spread(0.35), lexical, 1, perfect=1.0)[0][0] == IDS[7]
    assert fuse_rankings(spread(0.35), lexical, 1, perfect=0.4)[0][0] == "best"


def test_a_chance_match_does_not_outweigh_a_sure_encoder() -> None:
    """Qdrant's DBSF gives the only match .5, three standard deviations."""
    dense = [("right", 0.8), *((IDS[n], 0.3 - n / 500) for n in range(99))]
    lexical = [(IDS[50], 1.0), ("right", 0.9), (IDS[51], 0.8)]
    assert fuse_rankings(dense, lexical, 1, perfect=1.0)[0][0] == "right"


def test_ties_are_in_the_order_of_dense_scores_then_ids() -> None:
    assert fuse_rankings([("b", 1.0), ("c", 1.0), ("a", 1.0)], [], 3, perfect=1.0) == [
        ("a", 0.0),
        ("b", 0.0),
        ("c", 0.0),
    ]


@pytest.mark.parametrize(
    ("dense", "lexical"), [([], []), ([("a", 0.5)], []), ([], [("a", 2.0)]), ([("a", 0.5)],) * 2]
)
def test_few_points_are_no_trouble(
    dense: list[tuple[str, float]], lexical: list[tuple[str, float]]
) -> None:
    fused = fuse_rankings(dense, lexical, 10, perfect=1.0)
    assert {point for point, _ in fused} == {point for point, _ in [*dense, *lexical]}


def test_more_than_the_depth_are_ranked_where_more_are_asked_for() -> None:
    dense = [(point, 1.0 - n / 1000) for n, point in enumerate(IDS)]
    fused = fuse_rankings(dense, [(IDS[150], 3.0)], len(IDS), perfect=1.0)
    assert len(fused) == len(IDS) > DEPTH
    assert [point for point, _ in fused][-1] == IDS[-1]
