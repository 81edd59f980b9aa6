from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from training import levels


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 4]))
def test_what_was_packed_is_unpacked(seed: int, bits: int) -> None:
    numbers = np.random.default_rng(seed).integers(0, 2**bits, (3, 16)).astype(np.uint8)
    packed = levels.pack(numbers, bits)
    assert packed.nbytes * 8 == numbers.size * bits
    assert (levels.unpack(packed, bits).reshape(numbers.shape) == numbers).all()


@pytest.mark.parametrize(("bits", "distortion"), [(2, 0.1175), (3, 0.03454)])
def test_normal_values_lose_as_little_as_they_can(bits: int, distortion: float) -> None:
    """The distortions are those of Max's tables."""
    table = np.random.default_rng(0).normal(scale=3, size=(1_000, 384)).astype(np.float32)
    restored = levels.restore(*levels.quantise(table, bits, 384), bits)
    assert ((restored - table) ** 2).mean() / 9 == pytest.approx(distortion, rel=0.02)


@pytest.mark.parametrize("bits", [2, 3])
def test_a_restored_table_is_kept_as_it_is(bits: int) -> None:
    """Rounding once is all that is lost: codes stay, however often a table is written."""
    table = np.random.default_rng(1).normal(size=(50, 128)).astype(np.float32)
    codes, scales = levels.quantise(table, bits, 64)
    assert (levels.quantise(levels.restore(codes, scales, bits), bits, 64)[0] == codes).all()


def test_rows_of_zeros_stay_zero() -> None:
    restored = levels.restore(*levels.quantise(np.zeros((2, 64), np.float32), 2, 64), 2)
    assert not restored.any()
