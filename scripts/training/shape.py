"""The shape of the student, and how its tables are kept."""

from __future__ import annotations

LAYERS = 6
HEADS = 12
MAX_LENGTH = 256
"""Tokens of the longest text, which is also the longest that the teacher was trained on."""

EPSILON = 1e-12

BAG_WEIGHT = 1.0
"""Of the plain sum of tokens, beside the body's 1."""

TOKEN_BITS, TOKEN_BLOCK = 3, 64
"""Of the vectors that the body reads: bits a value, and values that share a scale."""

BAG_BITS, BAG_BLOCK = 2, 384
"""Of the vectors that are summed."""
