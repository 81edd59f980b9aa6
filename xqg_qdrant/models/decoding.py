"""How the next token is chosen: by chance, the best one, or the best few texts side by side."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from xqg_qdrant.errors import InputError

Method = Literal["sample", "greedy", "beam"]
METHODS: tuple[Method, ...] = get_args(Method)

MAX_TOP_K = 1_024
MAX_BEAMS = 64
MAX_TEXT_TOKENS = 4_096

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Decoding:
    """How texts are drawn from a generator.

    Attributes:
        method: ``sample`` draws every token by its probability; ``greedy`` takes the likeliest
            token, so there is one text a prompt; ``beam`` looks for the likeliest texts.
        top_k: samples are drawn from the so many likeliest tokens (Fan et al., ACL 2018).
        top_p: and from the fewest of those that hold this share of their probability (nucleus
            sampling, Holtzman et al., ICLR 2020); 1 leaves all.
        temperature: logits are divided by it before sampling; below 1 is less daring.
        max_length: most tokens of a text, the closing one included.
        seed: of the random numbers.
        beams: texts that a beam search keeps side by side.
    """

    method: Method = "sample"
    top_k: int = 50
    top_p: float = 1.0
    temperature: float = 1.0
    max_length: int = 64
    seed: int = 0
    beams: int = 5

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: one is out of its range.
        """
        if self.method not in METHODS:
            raise InputError(f"method is {self.method!r}: choose one of {', '.join(METHODS)}")
        for name, low, high in (
            ("top_k", 1, MAX_TOP_K),
            ("max_length", 1, MAX_TEXT_TOKENS),
            ("seed", 0, 2**63 - 1),
            ("beams", 1, MAX_BEAMS),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise InputError(f"{name} is {value!r}: give a whole number from {low} to {high:,}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}: give a share above 0, at most 1")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"temperature is {self.temperature}: give a positive number")

    def to_json(self) -> dict[str, Any]:
        """The settings that this method goes by, as a JSON object."""
        row = asdict(self)
        if self.method != "beam":
            del row["beams"]
        if self.method != "sample":
            for name in ("top_k", "top_p", "temperature", "seed"):
                del row[name]
        return row


def draws(seed: int, key: str, number: int, count: int) -> Floats:
    """The random numbers of one text, the same whatever else is drawn beside it.

    Args:
        seed: of the whole work.
        key: what the text belongs to.
        number: of the text among those of its key.
        count: how many numbers.

    Returns:
        float64 (count,), each at least 0 and below 1.
    """
    name = f"{seed}\x00{number}\x00{key}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(name, digest_size=16).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
    return generator.random(count)


def sample(logits: Floats, decoding: Decoding, uniform: Floats) -> Ints:
    """Draw one of the best tokens for each text.

    Args:
        logits: float64 (texts, k), best first; log-probabilities do as well.
        decoding: temperature and top_p count; the columns are the top_k.
        uniform: (texts,), a random number for each.

    Returns:
        int64 (texts,), the column of each.
    """
    scaled = logits / decoding.temperature
    weights = np.exp(scaled - scaled[:, :1])
    reached = np.cumsum(weights, axis=1)
    if decoding.top_p < 1:
        # A token is in if the likelier ones do not hold the share yet; the first always is.
        before = reached - weights
        weights[before >= decoding.top_p * reached[:, -1:]] = 0
        reached = np.cumsum(weights, axis=1)
    chosen = (reached <= uniform[:, None] * reached[:, -1:]).sum(axis=1)
    # Rounding may push a draw close to 1 past the last token that is in.
    return np.asarray(np.minimum(chosen, (weights > 0).sum(axis=1) - 1), dtype=np.int64)


class Hypothesis(NamedTuple):
    """A whole text of a beam search.

    Attributes:
        score: mean log-probability of its tokens.
        tokens: without the closing one.
        length: with it.
        finished: it ended by itself.
    """

    score: float
    tokens: tuple[int, ...]
    length: int
    finished: bool


class Beams:
    """The beam search of one prompt.

    Scores are sums of log-probabilities, divided by the number of tokens where whole texts are
    compared. The search ends when no running text can overtake the worst whole one as things stand.
    """

    def __init__(self, beams: int, end: int) -> None:
        self._end = end
        # All start alike, so only the first counts.
        self.scores = np.full(beams, -np.inf)
        self.scores[0] = 0
        self.tokens = np.zeros((beams, 0), dtype=np.int64)
        self.whole: list[Hypothesis] = []
        self.over = False

    @property
    def candidates(self) -> int:
        """How many next tokens of each text must be looked at: all but half may be closing ones."""
        return 2 * len(self.scores)

    def step(self, log_probabilities: Floats, token_ids: Ints) -> Ints:
        """Take one step.

        Args:
            log_probabilities: float64 (beams, k) of the best next tokens of each text.
            token_ids: (beams, k).

        Returns:
            int64 (beams,), which text each goes on from. The tokens that they go on with are the
            last column of ``tokens``; ``over`` says whether the search has ended.
        """
        beams, k = token_ids.shape
        totals = (self.scores[:, None] + log_probabilities).ravel()
        order = np.argsort(-totals, kind="stable")[: 2 * beams]
        length = self.tokens.shape[1] + 1
        origins, tokens, scores = [], [], []
        for rank, place in enumerate(order):
            origin, token = place // k, token_ids.ravel()[place]
            if token == self._end:
                # A closing token counts only where it is one of the best.
                if rank < beams and np.isfinite(totals[place]):
                    text = tuple(self.tokens[origin].tolist())
                    self._add(Hypothesis(totals[place] / length, text, length, True))
                continue
            origins.append(origin)
            tokens.append(token)
            scores.append(totals[place])
            if len(origins) == beams:
                break
        self.over = len(self.whole) == beams and self.whole[-1].score >= max(scores) / length
        taken = np.array(origins, dtype=np.int64)
        self.tokens = np.concatenate(
            [self.tokens[taken], np.array(tokens, dtype=np.int64)[:, None]], axis=1
        )
        self.scores = np.array(scores)
        return taken

    def best(self, count: int) -> list[Hypothesis]:
        """The best texts; those that are cut off here compete with the whole ones."""
        length = self.tokens.shape[1]
        if not self.over:
            for tokens, score in zip(self.tokens, self.scores, strict=True):
                if np.isfinite(score):
                    text = tuple(tokens.tolist())
                    self._add(Hypothesis(score / max(length, 1), text, length, False))
        return self.whole[:count]

    def _add(self, hypothesis: Hypothesis) -> None:
        self.whole.append(hypothesis)
        self.whole.sort(key=lambda each: -each.score)
        del self.whole[len(self.scores) :]
