"""The student: the teacher's six layers over a vocabulary of many languages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from training import teacher
from training.levels import rounded
from training.shape import (
    BAG_BITS,
    BAG_BLOCK,
    BAG_WEIGHT,
    EPSILON,
    HEADS,
    LAYERS,
    MAX_LENGTH,
    TOKEN_BITS,
    TOKEN_BLOCK,
)
from training.wordpieces import SPECIAL


class Layer(nn.Module):
    """A layer of BERT, with queries, keys and values from one matrix."""

    def __init__(self, dimension: int, inner: int) -> None:
        super().__init__()
        self.attend = nn.Linear(dimension, 3 * dimension)
        self.gather = nn.Linear(dimension, dimension)
        self.norm1 = nn.LayerNorm(dimension, eps=EPSILON)
        self.widen = nn.Linear(dimension, inner)
        self.narrow = nn.Linear(inner, dimension)
        self.norm2 = nn.LayerNorm(dimension, eps=EPSILON)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """What the layer makes of (batch, length, dimension); ``mask`` is False at padding."""
        batch, length, dimension = hidden.shape
        parts = self.attend(hidden)
        parts = parts.view(batch, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=mask)
        mixed = mixed.transpose(1, 2).reshape(batch, length, dimension)
        hidden = self.norm1(hidden + self.gather(mixed))
        inner = F.gelu(self.widen(hidden))
        return self.norm2(hidden + self.narrow(inner))


class Student(nn.Module):
    """Token ids to unit vectors: what the body makes of a text, and the plain sum of its tokens.

    Attributes:
        tokens: a vector a token, which the body reads.
        bag: a vector a token, which is summed over the text.
        places: a vector a position, the one of the token type included.
    """

    def __init__(
        self, tokens: NDArray[np.float32], bag: NDArray[np.float32], inner: int = 1536
    ) -> None:
        super().__init__()
        dimension = tokens.shape[1]
        self.tokens = nn.Parameter(torch.from_numpy(tokens.copy()))
        self.bag = nn.Parameter(torch.from_numpy(bag.copy()))
        self.places = nn.Parameter(torch.zeros(MAX_LENGTH, dimension))
        self.norm = nn.LayerNorm(dimension, eps=EPSILON)
        self.layers = nn.ModuleList(Layer(dimension, inner) for _ in range(LAYERS))
        self.rounded = False

    def body(self) -> Iterator[nn.Parameter]:
        """All parameters but the tokens' vectors."""
        return (each for name, each in self.named_parameters() if name not in ("tokens", "bag"))

    def embed(
        self, texts: Sequence[Sequence[int]], *, bag: bool = True, most_tokens: int = 2_048
    ) -> Tensor:
        """Unit vectors, (texts, dimension), of token ids of any length.

        Args:
            texts: token ids.
            bag: add the plain sums; without, the vectors are the body's alone.
            most_tokens: texts of like length go through the body together, at most so many tokens.
        """
        device = self.tokens.device
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        flat = torch.tensor([token for row in order for token in texts[row]], device=device)
        used, place = flat.unique(return_inverse=True)
        read, summed = self.tokens[used], self.bag[used]
        if self.rounded:
            read = rounded(read, TOKEN_BITS, TOKEN_BLOCK)
            summed = rounded(summed, BAG_BITS, BAG_BLOCK)
        lengths = torch.tensor([len(texts[row]) for row in order], device=device)
        owner = torch.repeat_interleave(torch.arange(len(order), device=device), lengths)
        content = (flat >= len(SPECIAL)).float()[:, None]
        sums = torch.zeros(len(order), summed.shape[1], device=device)
        sums = sums.index_add(0, owner, summed[place] * content)
        parts: list[Tensor] = []
        starts = torch.cumsum(lengths, 0) - lengths
        start = 0
        while start < len(order):
            end = start + 1
            while end < len(order) and (end + 1 - start) * int(lengths[end]) <= most_tokens:
                end += 1
            width = int(lengths[end - 1])
            places = torch.arange(width, device=device)
            real = places[None, :] < lengths[start:end, None]
            where = (starts[start:end, None] + places).clamp(max=len(flat) - 1)
            parts.append(self._contextual(read[place[where]], real))
            start = end
        unit = F.normalize(torch.cat(parts), dim=1, eps=1e-6)
        if bag:
            unit = unit + BAG_WEIGHT * F.normalize(sums, dim=1, eps=1e-6)
        back = torch.empty(len(order), dtype=torch.long, device=device)
        back[torch.tensor(order, device=device)] = torch.arange(len(order), device=device)
        return F.normalize(unit, dim=1, eps=1e-6)[back]

    def _contextual(self, read: Tensor, real: Tensor) -> Tensor:
        """Sums over the texts of what the body makes of each token."""
        hidden = self.norm(read + self.places[: read.shape[1]])
        mask = real[:, None, None, :]
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return (hidden * real[:, :, None]).sum(dim=1)


def teacher_weights() -> dict[str, Tensor]:
    """The teacher's weights, by their names in its checkpoint."""
    return load_file(teacher.model_folder() / "model.safetensors")


def start_student(tokens: NDArray[np.float32], bag: NDArray[np.float32]) -> Student:
    """A student with the teacher's body.

    Args:
        tokens: (vocabulary, dimension), what the body reads at the start.
        bag: (vocabulary, dimension), what is summed at the start.
    """
    weights = teacher_weights()
    student = Student(tokens, bag)
    state = {"tokens": student.tokens.data, "bag": student.bag.data}
    places = weights["embeddings.position_embeddings.weight"][:MAX_LENGTH]
    state["places"] = places + weights["embeddings.token_type_embeddings.weight"][0]
    for part in ("weight", "bias"):
        state[f"norm.{part}"] = weights[f"embeddings.LayerNorm.{part}"]
        for number in range(LAYERS):
            ours, theirs = f"layers.{number}", f"encoder.layer.{number}"
            attention = f"{theirs}.attention.self"
            inputs = [weights[f"{attention}.{n}.{part}"] for n in ("query", "key", "value")]
            state[f"{ours}.attend.{part}"] = torch.cat(inputs)
            state[f"{ours}.gather.{part}"] = weights[f"{theirs}.attention.output.dense.{part}"]
            state[f"{ours}.norm1.{part}"] = weights[f"{theirs}.attention.output.LayerNorm.{part}"]
            state[f"{ours}.widen.{part}"] = weights[f"{theirs}.intermediate.dense.{part}"]
            state[f"{ours}.narrow.{part}"] = weights[f"{theirs}.output.dense.{part}"]
            state[f"{ours}.norm2.{part}"] = weights[f"{theirs}.output.LayerNorm.{part}"]
    student.load_state_dict(state)
    return student
