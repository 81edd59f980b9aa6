"""Training of the static encoder: one vector a token, summed, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from training.corpus import IN_ORDER, Corpus
from training.levels import rounded
from training.progress import clock, say

Array = NDArray[np.int64]


class Bags:
    """Token ids of many texts in one flat array."""

    def __init__(self, ids: Sequence[Sequence[int]]) -> None:
        lengths = np.array([len(each) for each in ids], dtype=np.int64)
        self.lengths = lengths
        self.starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        self.flat = np.fromiter(
            (token for each in ids for token in each), dtype=np.int32, count=int(lengths.sum())
        )

    def take(self, rows: Array) -> Texts:
        """Some of the texts."""
        lengths = self.lengths[rows]
        ends = np.cumsum(lengths)
        within = np.arange(int(lengths.sum())) - np.repeat(ends - lengths, lengths)
        ids = self.flat[np.repeat(self.starts[rows], lengths) + within]
        return Texts(ids.astype(np.int64), lengths)


class Texts(NamedTuple):
    """Token ids of some texts.

    Attributes:
        ids: of all texts, one after the other.
        lengths: tokens of each text.
    """

    ids: Array
    lengths: Array


class _SumBags(torch.autograd.Function):
    """Sums of rows of a table, as the product of a sparse matrix with it.

    On a processor this is several times faster than ``embedding_bag`` and its gradient.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, counts: sp.csr_matrix) -> Tensor:
        ctx.counts = counts
        return torch.from_numpy(counts @ table.detach().numpy())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return torch.from_numpy(ctx.counts.T @ grads[0].numpy()), None


def embed(table: Tensor, texts: Sequence[Texts], *, drop: Sequence[float] = ()) -> list[Tensor]:
    """Unit vectors of texts: the sum of their tokens' vectors, normalised.

    Args:
        table: a vector a token.
        texts: several groups of texts; all are embedded at once.
        drop: share of each group's tokens that are left out at random, so that no text hangs on
            one word.
    """
    ids = np.concatenate([group.ids for group in texts])
    lengths = np.concatenate([group.lengths for group in texts])
    if drop:
        shares = np.repeat(np.array(drop, dtype=np.float32), [len(group.ids) for group in texts])
        kept = (torch.rand(len(ids)).numpy() >= shares).astype(np.float32)
    else:
        kept = np.ones(len(ids), dtype=np.float32)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    counts = sp.csr_matrix((kept, ids, starts), shape=(len(lengths), len(table)))
    sums: Tensor = _SumBags.apply(table, counts)  # type: ignore[no-untyped-call]
    unit = F.normalize(sums, dim=1, eps=1e-6)
    return list(torch.split(unit, [len(each.lengths) for each in texts]))


@dataclass(frozen=True)
class Recipe:
    """What of the training may be varied.

    Attributes:
        seed: of all sampling.
        steps: of the optimiser.
        learning_rate: at its highest, falling linearly to 0.
        pairs: translations in a batch.
        questions: questions in a batch that ask for a passage.
        passages: passages in a batch.
        temperature: of the contrastive losses.
        cosine: weight of the cosine to the teacher's vector.
        retrieval: weight of the loss question to passage.
        drop: share of tokens left out while training.
        small_language: exponent of a language's size in the weight of its pairs.
    """

    seed: int = 0
    steps: int = 1_000
    learning_rate: float = 1.5e-3
    pairs: int = 1_024
    questions: int = 256
    passages: int = 256
    temperature: float = 0.05
    cosine: float = 12.0
    retrieval: float = 0.3
    drop: float = 0.1
    small_language: float = -0.4


KIND_WEIGHTS = {"q": 3.0, "s": 1.0, "p": 1.0, "w": 0.08, "n": 0.08}


class Translations(NamedTuple):
    """All pairs as tokens.

    Attributes:
        foreign: bags of the foreign side.
        english: bags of the distinct English strings.
        english_of: of each pair, its row in ``english``.
        teacher_of: of each English string, its row among the teacher's vectors.
        weight: how often each pair is drawn.
    """

    foreign: Bags
    english: Bags
    english_of: Array
    teacher_of: Array
    weight: NDArray[np.float64]


class Retrieval(NamedTuple):
    """All questions and passages as tokens.

    Attributes:
        questions: bags of the questions.
        answer: of each question, its passage.
        passages: bags of passages.
        titles: bags of their titles.
        teacher_of: of each passage, its row among the teacher's vectors.
        group: of each passage; those of one document are hard negatives of each other.
        weight: how often each question is drawn.
        runs: pairs (rows of ``Translations``) whose English sides follow each other in a
            document, as (first, length) by pair; they make passages on the fly.
    """

    questions: Bags
    answer: Array
    passages: Bags
    titles: Bags
    teacher_of: Array
    group: Array
    weight: NDArray[np.float64]
    runs: tuple[Array, Array]


def without_mean(table: NDArray[np.float32], texts: Texts) -> NDArray[np.float32]:
    """Take what texts have in common out of a table: the direction of the mean of their vectors.

    What all questions share tells no two passages apart, but sums of queries pile it up. The
    sum of projected tokens is the projected sum, so the model needs no further step for it. See
    Mu and Viswanath, "All-but-the-Top", ICLR 2018.
    """
    with torch.inference_mode():
        vectors = embed(torch.from_numpy(table), [texts])[0]
    common = F.normalize(vectors.mean(dim=0), dim=0).numpy()
    return np.asarray(table - np.outer(table @ common, common), dtype=np.float32)


def pair_weights(corpus: Corpus, small_language: float) -> NDArray[np.float64]:
    """How often each pair is drawn: by its kind, and more often in small languages."""
    kind = np.array([KIND_WEIGHTS[pair.kind] for pair in corpus.pairs])
    languages = np.array([pair.language for pair in corpus.pairs])
    weight = kind.copy()
    for language in np.unique(languages):
        mine = languages == language
        weight[mine] *= kind[mine].sum() ** small_language
    return np.asarray(weight / weight.sum())


def question_weights(corpus: Corpus) -> NDArray[np.float64]:
    """How often each question is drawn: the square root levels languages and passages."""
    languages = np.array([asked.language for asked in corpus.asked])
    passages = np.array([asked.passage for asked in corpus.asked])
    weight = np.ones(len(languages))
    for values in (languages, passages):
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        weight *= counts[inverse] ** -0.5
    return np.asarray(weight / weight.sum())


def running_pairs(corpus: Corpus) -> tuple[Array, Array]:
    """Pairs of sources that are in order, with how many follow them directly (at most 5)."""
    rows: list[int] = []
    follow: list[int] = []
    for row, pair in enumerate(corpus.pairs):
        if pair.source not in IN_ORDER or pair.kind != "s":
            continue
        count = 0
        while count < 5 and row + count + 1 < len(corpus.pairs):
            after = corpus.pairs[row + count + 1]
            if after[2:5] != pair[2:5] or after.line != pair.line + count + 1:
                break
            count += 1
        rows.append(row)
        follow.append(count)
    return np.array(rows, dtype=np.int64), np.array(follow, dtype=np.int64)


def train(
    table: NDArray[np.float32],
    translations: Translations,
    retrieval: Retrieval,
    teacher: NDArray[np.float16],
    recipe: Recipe,
    *,
    kept: tuple[int, int] | None = None,
    watch: Callable[[NDArray[np.float32]], str] | None = None,
    watch_every: int = 500,
) -> NDArray[np.float32]:
    """Train a table of token vectors.

    Four losses, of which the first two come from the teacher and the last two from the data: the
    cosine of both sides of a pair to the teacher's vector of the English side, and of a passage to
    its own; the same of pairs as a contrast within the batch; the contrast between both sides; and
    the contrast between a question and the passages.

    Args:
        table: where it starts.
        translations: pairs.
        retrieval: questions and passages.
        teacher: the teacher's vectors.
        recipe: how to train.
        kept: bits a value and values a scale, if the table will be kept so: every step then uses
            it as it would be kept.
        watch: called now and then with the table; what it returns is shown.
        watch_every: in steps.

    Returns:
        The table, averaged over the last third of the steps.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    weight = torch.nn.Parameter(torch.from_numpy(table.copy()))
    optimiser = torch.optim.Adam([weight], lr=recipe.learning_rate, betas=(0.9, 0.99), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, (step + 1) / 50) * (1 - step / recipe.steps)
    )
    mean = torch.zeros_like(weight)
    averaged, first = 0, recipe.steps * 2 // 3
    tokens, recent, start = 0, 0.0, time.monotonic()
    pair_rows = draw(rng, translations.weight, recipe.pairs)
    question_rows = draw(rng, retrieval.weight, recipe.questions)
    for step in range(1, recipe.steps + 1):
        optimiser.zero_grad()
        rows = next(pair_rows)
        batch = _search_batch(retrieval, next(question_rows), recipe, rng)
        texts = [
            translations.foreign.take(rows),
            translations.english.take(translations.english_of[rows]),
            retrieval.questions.take(batch.questions),
            _with_titles(retrieval, batch.pool, rng),
            # Much is left out of these: their passages hold their translations in full.
            translations.foreign.take(batch.picked),
            _runs(translations, batch.first, batch.follow),
        ]
        drop = [recipe.drop * (3 if group == 4 else 1) for group in range(len(texts))]
        used: Tensor = weight
        if kept:
            # Rounding the rows of this step's tokens alone is several times faster.
            rows_used = np.unique(np.concatenate([group.ids for group in texts]))
            used = rounded(weight[torch.from_numpy(rows_used)], *kept)
            texts = [Texts(np.searchsorted(rows_used, each.ids), each.lengths) for each in texts]
        foreign, english, *search = embed(used, texts, drop=drop)
        loss = _translation_loss(foreign, english, rows, translations, teacher, recipe)
        found = _search_loss(search, batch, translations, recipe.temperature)
        loss = loss + recipe.retrieval * found
        taught = teacher[retrieval.teacher_of[batch.pool]].astype(np.float32)
        loss = loss + recipe.cosine * distance(search[1], torch.from_numpy(taught))
        tokens += sum(len(group.ids) for group in texts)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        recent += (loss.item() - recent) * (0.02 if step > 50 else 1 / step)
        if step > first:
            averaged += 1
            mean += (weight.detach() - mean) / averaged
        if step % 50 == 0 or step == recipe.steps:
            spent = time.monotonic() - start
            left = spent * (recipe.steps - step) / step
            say(
                f"step {step:,}/{recipe.steps:,}, loss {recent:.3f}, "
                f"{tokens / spent:,.0f} tokens/s, {clock(left)} left"
            )
        if watch and step % watch_every == 0 and step < recipe.steps:
            say(watch((mean if averaged else weight.detach()).numpy()))
    return np.asarray(mean.numpy(), dtype=np.float32)


def draw(rng: np.random.Generator, weight: NDArray[np.float64], size: int) -> Iterator[Array]:
    """Rows, drawn by weight, with replacement."""
    upto = np.cumsum(weight)
    while True:
        yield np.searchsorted(upto, rng.random(size) * upto[-1]).clip(max=len(upto) - 1)


def distance(vectors: Tensor, target: Tensor) -> Tensor:
    """Mean cosine distance of unit vectors to the teacher's."""
    return (1 - (vectors * target).sum(dim=1)).mean()


def _contrast(left: Tensor, right: Tensor, same: Tensor, temperature: float) -> Tensor:
    """Cross entropy of row i of ``left`` against all rows of ``right``, of which i is right.

    The other rows of ``left`` are wrong answers too: texts of one language must not resemble each
    other for being of one language, or sums of queries would find every question of it.

    Args:
        left: unit vectors.
        right: unit vectors.
        same: True where another row is no wrong answer, being the same text.
        temperature: the similarities are divided by it.
    """
    own = torch.eye(len(left), dtype=torch.bool)
    scores = torch.cat([left @ right.T, left @ left.T], dim=1) / temperature
    scores = scores.masked_fill(torch.cat([same, same | own], dim=1), -torch.inf)
    return F.cross_entropy(scores, torch.arange(len(left)))


def _translation_loss(
    foreign: Tensor,
    english: Tensor,
    rows: Array,
    data: Translations,
    teacher: NDArray[np.float16],
    recipe: Recipe,
) -> Tensor:
    """Both sides of each pair to each other, and both to the teacher."""
    english_rows = data.english_of[rows]
    number = torch.from_numpy(english_rows)
    same = number[:, None] == number[None, :]
    same.fill_diagonal_(False)
    loss = _contrast(foreign, english, same, recipe.temperature)
    loss = loss + _contrast(english, foreign, same.T, recipe.temperature)
    target = torch.from_numpy(teacher[data.teacher_of[english_rows]].astype(np.float32))
    for side in (foreign, english):
        loss = loss + _contrast(side, target, same, recipe.temperature)
        loss = loss + recipe.cosine * distance(side, target)
    return loss


class _Search(NamedTuple):
    """A batch of questions and the passages that they are to be found among.

    Attributes:
        questions: rows of the questions.
        pool: rows of the passages, right ones first.
        right: of each question, its place in ``pool``.
        first: pairs that start a made-up passage: one of the sentences around a pair.
        follow: how many more pairs it is made of.
        picked: the pair of each made-up passage whose foreign side asks for it.
    """

    questions: Array
    pool: Array
    right: Array
    first: Array
    follow: Array
    picked: Array


def _search_batch(
    data: Retrieval, rows: Array, recipe: Recipe, rng: np.random.Generator
) -> _Search:
    right = np.unique(data.answer[rows])
    # Passages of the same documents are the hard negatives; any others fill the pool up.
    siblings = np.setdiff1d(np.flatnonzero(np.isin(data.group, data.group[right])), right)
    rng.shuffle(siblings)
    others = np.setdiff1d(np.arange(len(data.group)), np.concatenate([right, siblings]))
    rng.shuffle(others)
    pool = np.concatenate([right, siblings, others])[: max(len(right), recipe.passages)]
    first, follow = data.runs
    chosen = rng.integers(0, len(first), size=len(rows))
    first, follow = first[chosen], follow[chosen]
    return _Search(
        questions=rows,
        pool=pool,
        right=np.searchsorted(right, data.answer[rows]),
        first=first,
        follow=follow,
        picked=first + rng.integers(0, follow + 1),
    )


def _search_loss(
    vectors: Sequence[Tensor],
    batch: _Search,
    translations: Translations,
    temperature: float,
) -> Tensor:
    """Questions to their passages, sentences to the passages made around them."""
    questions, passages, asking, made = vectors
    scores = torch.cat([questions, asking]) @ torch.cat([passages, made]).T / temperature
    target = np.concatenate([batch.right, len(batch.pool) + np.arange(len(made))])
    # Made-up passages that overlap hold each other's sentences: neither is a wrong answer.
    english = translations.english_of[batch.first]
    overlap = np.abs(english[:, None] - english[None, :]) <= 6
    np.fill_diagonal(overlap, False)
    mask = torch.zeros_like(scores, dtype=torch.bool)
    mask[len(questions) :, len(passages) :] = torch.from_numpy(overlap)
    return F.cross_entropy(scores.masked_fill(mask, -torch.inf), torch.from_numpy(target))


def _with_titles(data: Retrieval, rows: Array, rng: np.random.Generator) -> Texts:
    """Passages, half of them with their titles in front."""
    texts = data.passages.take(rows)
    titled = rng.random(len(rows)) < 0.5
    titles = data.titles.take(rows)
    shown = np.where(titled, titles.lengths, 0)
    owner = np.repeat(np.arange(len(rows)), texts.lengths)
    title_owner = np.repeat(np.arange(len(rows)), titles.lengths)
    keep = titled[title_owner]
    owners = np.concatenate([title_owner[keep], owner])
    ids = np.concatenate([titles.ids[keep], texts.ids])
    return Texts(ids[np.argsort(owners, kind="stable")], texts.lengths + shown)


def _runs(data: Translations, first: Array, follow: Array) -> Texts:
    """Passages made of the English sides of pairs that follow each other."""
    rows = np.concatenate(
        [np.arange(start, start + count + 1) for start, count in zip(first, follow, strict=True)]
    )
    texts = data.english.take(data.english_of[rows])
    starts = np.cumsum(follow + 1) - (follow + 1)
    return Texts(texts.ids, np.add.reduceat(texts.lengths, starts))
