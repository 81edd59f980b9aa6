from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xqg_qdrant.errors import InputError
from xqg_qdrant.models.decoding import Beams, Decoding, draws, sample


def best_first(logits: list[float]) -> Any:
    return np.sort(np.array([logits]))[:, ::-1]


logits_of_a_text = st.lists(st.floats(-50, 50), min_size=1, max_size=30).map(best_first)


def shares(logits: Any, decoding: Decoding) -> Any:
    """How often each column is drawn, over evenly spaced random numbers."""
    count = 20_000
    uniform = (np.arange(count) + 0.5) / count
    columns = sample(np.repeat(logits, count, axis=0), decoding, uniform)
    return np.bincount(columns, minlength=logits.shape[1]) / count


@given(logits_of_a_text, st.floats(0.2, 3))
def test_tokens_are_drawn_by_their_probability(logits: Any, temperature: float) -> None:
    scaled = logits[0] / temperature
    expected = np.exp(scaled - np.logaddexp.reduce(scaled))
    found = shares(logits, Decoding(temperature=temperature))
    assert np.abs(found - expected).max() < 1e-3


@given(logits_of_a_text, st.floats(0.05, 0.95))
def test_top_p_leaves_the_fewest_tokens_that_hold_the_share(logits: Any, top_p: float) -> None:
    scaled = logits[0]
    probabilities = np.exp(scaled - np.logaddexp.reduce(scaled))
    before = np.cumsum(probabilities) - probabilities
    # A sum that is the share but for rounding may fall on either side.
    inside, surely = before < top_p + 1e-9, before < top_p - 1e-9
    found = shares(logits, Decoding(top_p=top_p))
    assert not found[~inside].any()
    expected = probabilities * surely / (probabilities * surely).sum()
    if (inside == surely).all():
        assert np.abs(found - expected).max() < 1e-3


@given(
    hnp.arrays(np.float64, (3, 5), elements=st.floats(-1e4, 1e4)),
    st.sampled_from([0.0, 0.5, 1 - 2**-53]),
    st.floats(0.01, 1),
    st.floats(0.01, 100),
)
def test_what_is_drawn_is_always_there(
    logits: Any, uniform: float, top_p: float, temperature: float
) -> None:
    logits = np.sort(logits)[:, ::-1]
    decoding = Decoding(top_p=top_p, temperature=temperature)
    columns = sample(logits, decoding, np.full(3, uniform))
    assert ((columns >= 0) & (columns < 5)).all()
    if uniform == 0:
        assert (columns == 0).all()


@given(st.integers(0, 2**63 - 1), st.text(max_size=20), st.integers(0, 1000))
def test_random_numbers_hang_on_seed_key_and_number(seed: int, key: str, number: int) -> None:
    first = draws(seed, key, number, 8)
    assert (first == draws(seed, key, number, 8)).all()
    assert (first[:3] == draws(seed, key, number, 3)).all()
    assert ((first >= 0) & (first < 1)).all()
    for other in (
        draws((seed + 1) % 2**63, key, number, 8),
        draws(seed, key + "x", number, 8),
        draws(seed, key, number + 1, 8),
    ):
        assert (first != other).any()


def test_random_numbers_are_what_they_were() -> None:
    """Texts of a seed stay the same from release to release."""
    expected = [0.25199692, 0.75880826, 0.09485369]
    assert draws(0, "p1\x00sw", 0, 3).round(8).tolist() == expected


def every_text(probabilities: Any, length: int) -> list[tuple[float, tuple[int, ...]]]:
    """All texts over tokens 0 (the end), 1 and 2, by mean log-probability; exhaustive search."""
    found = []
    for size in range(1, length + 1):
        for tokens in itertools.product((1, 2), repeat=size - 1):
            last = [0] if size < length else [0, 1, 2]
            for end in last:
                whole = (*tokens, end)
                states = (0, *whole[:-1])
                total = sum(
                    math.log(probabilities[s, t]) for s, t in zip(states, whole, strict=True)
                )
                text = tokens if end == 0 else whole
                found.append((total / len(whole), text))
    return sorted(found, reverse=True)


@given(hnp.arrays(np.float64, (3, 3), elements=st.floats(0.05, 1)), st.integers(1, 4))
def test_a_wide_beam_finds_the_likeliest_texts(weights: Any, length: int) -> None:
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    beams = 16
    search = Beams(beams, end=0)
    states = np.zeros(beams, dtype=np.int64)
    for _ in range(length):
        ids = np.tile(np.arange(3), (beams, 1))
        # As many candidates as a search wants, of which most are impossible.
        padding = np.full((beams, search.candidates - 3), -np.inf)
        likely = np.concatenate([np.log(probabilities[states]), padding], axis=1)
        ids = np.concatenate([ids, np.full(padding.shape, 2)], axis=1)
        search.step(likely, ids)
        if search.over:
            break
        states = search.tokens[:, -1]
    expected = every_text(probabilities, length)
    assert search.best(1)[0].score == pytest.approx(expected[0][0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "magic"}, "method is 'magic'"),
        ({"top_k": 0}, "top_k is 0: give a whole number from 1 to 1,024"),
        ({"top_k": 1025}, "top_k is 1025"),
        ({"top_k": 5.0}, "top_k is 5.0"),
        ({"top_k": True}, "top_k is True"),
        ({"top_p": 0}, "top_p is 0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"top_p": math.nan}, "top_p is nan"),
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"max_length": 0}, "max_length is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
        ({"beams": 0}, "beams is 0"),
        ({"beams": 65}, "beams is 65"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Decoding(**settings)


def test_only_the_settings_that_count_are_told() -> None:
    assert Decoding().to_json() == {
        "method": "sample",
        "top_k": 50,
        "top_p": 1.0,
        "temperature": 1.0,
        "max_length": 64,
        "seed": 0,
    }
    assert Decoding("greedy").to_json() == {"method": "greedy", "max_length": 64}
    assert Decoding("beam").to_json() == {"method": "beam", "max_length": 64, "beams": 5}
