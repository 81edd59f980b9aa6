"""The quick look at payloads agrees with the close one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xqg_qdrant.corpus import checks
from xqg_qdrant.errors import InputError

odd = st.sampled_from(
    [float("nan"), float("inf"), 2**63, -(2**63) - 1, "\x00", "\ud800", b"x", (1, 2), {1, 2}, 1j]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | odd
keys = st.text(max_size=3) | st.sampled_from([1, None, True, "\x00", "\udfff"])
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)
)


def _closely(payload: object) -> bool:
    try:
        budget = checks._Budget(checks.MAX_METADATA_DEPTH, None)
        checks._check_json(payload, "payload", 0, budget)
    except InputError:
        return False
    return True


@given(values)
def test_what_passes_the_quick_look_passes_the_close_one(payload: Any) -> None:
    if checks._is_plain(payload, checks.MAX_METADATA_DEPTH):
        assert _closely(payload)


@pytest.mark.parametrize("leaf", [1, "x", None, [], {}])
@pytest.mark.parametrize("depth", range(29, 36))
def test_both_draw_the_line_at_the_same_depth(leaf: Any, depth: int) -> None:
    payload = leaf
    for _ in range(depth):
        payload = {"a": payload}
    assert checks._is_plain(payload, checks.MAX_METADATA_DEPTH) == _closely(payload)
