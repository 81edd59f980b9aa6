"""Tables of token vectors in two or three bits a value.

Values of a token's vector are close to normally distributed, so the levels are those that lose
least of a normal distribution (Max, "Quantizing for Minimum Distortion", 1960), times the root mean
square of the block of values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

LEVELS = {
    2: (-1.510, -0.4528, 0.4528, 1.510),
    3: (-2.152, -1.344, -0.7560, -0.2451, 0.2451, 0.7560, 1.344, 2.152),
}
"""Levels of a normal distribution of variance 1, by bits."""

Floats = NDArray[np.float32]


def borders(bits: int) -> Floats:
    """Where one level ends and the next begins."""
    levels = np.array(LEVELS[bits], dtype=np.float32)
    return np.asarray((levels[1:] + levels[:-1]) / 2, dtype=np.float32)


def quantise(table: Floats, bits: int, block: int) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """The number of each value's level, and the scale of each block.

    Args:
        table: (rows, dimension).
        bits: 2 or 3.
        block: values that share a scale; divides the dimension.

    Returns:
        uint8 (rows, dimension) and float16 (rows, dimension / block).
    """
    blocks = table.reshape(len(table), -1, block)
    scales = np.sqrt((blocks**2).mean(axis=2)).astype(np.float16)
    safe = np.maximum(scales.astype(np.float32), 1e-7)[:, :, None]
    codes = np.searchsorted(borders(bits), blocks / safe).astype(np.uint8)
    return codes.reshape(table.shape), scales


def restore(codes: NDArray[np.uint8], scales: NDArray[np.float16], bits: int) -> Floats:
    """The table that :func:`quantise` kept, as the model computes it."""
    values = np.array(LEVELS[bits], dtype=np.float32)[codes]
    blocks = values.reshape(len(codes), scales.shape[1], -1)
    return np.asarray(
        (blocks * scales.astype(np.float32)[:, :, None]).reshape(codes.shape), dtype=np.float32
    )


def pack(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Numbers of ``bits`` bits, 1, 2 or 4, packed into bytes, the first one lowest."""
    count = 8 // bits
    parts = codes.reshape(len(codes), -1, count).astype(np.uint16)
    shifts = np.arange(count, dtype=np.uint16) * bits
    return np.asarray((parts << shifts).sum(axis=2), dtype=np.uint8)


def unpack(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """The numbers that each byte holds, in a last dimension of their own."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return np.asarray((packed[..., None] >> shifts) & (2**bits - 1), dtype=np.uint8)


def rounded(rows: Tensor, bits: int, block: int) -> Tensor:
    """Rows as the quantised model has them; gradients pass as if nothing had been rounded."""
    import torch

    # Levels are symmetric: the size of a value climbs from one to the next at each border.
    half = 2 ** (bits - 1)
    sizes, steps = LEVELS[bits][half:], borders(bits)[half:].tolist()
    with torch.no_grad():
        blocks = rows.view(len(rows), -1, block)
        scales = blocks.square().mean(dim=2, keepdim=True).sqrt().half().float().clamp(min=1e-7)
        height = blocks.abs()
        exact = torch.full_like(blocks, sizes[0])
        for size, below, border in zip(sizes[1:], sizes, steps, strict=False):
            exact += (height > border * scales) * (size - below)
        change = (exact * scales).copysign(blocks).view_as(rows) - rows
    return rows + change
