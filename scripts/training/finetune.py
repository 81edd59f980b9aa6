"""Training of the student: body, token vectors and plain sums together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from training.body import Student
from training.distil import Array, Bags, distance, draw
from training.prepared import Prepared
from training.progress import clock, say
from training.shape import MAX_LENGTH
from training.switch import CodeSwitcher
from training.wordpieces import around


@dataclass(frozen=True)
class Recipe:
    """What of the training may be varied.

    Attributes:
        seed: of all sampling.
        steps: of the optimiser.
        together: steps at the start in which the losses are those of body and sums added up. Then
            they are the body's alone: it is worth more beside the sums if it does not lean on them.
        body_rate: learning rate of the layers, at its highest.
        token_rate: of the vectors that the body reads.
        bag_rate: of the vectors that are summed.
        pairs: translations in a batch; the foreign side is read, the English one is known.
        switched: English texts with words of another language, in a batch.
        english: English texts in a batch.
        questions: questions in a batch that ask for a passage.
        passages: passages in a batch.
        negatives: vectors of other English texts that are wrong answers, in a batch.
        temperature: of the contrastive losses.
        cosine: weight of the cosine to the teacher's vector.
        retrieval: weight of the loss question to passage.
        drop: share of a foreign text's tokens left out while training.
        longest: tokens of a text that count; passages count up to ``shape.MAX_LENGTH``.
        averaged: weights are averaged over this last part of the steps.
    """

    seed: int = 0
    steps: int = 900
    together: int = 600
    body_rate: float = 1.5e-4
    token_rate: float = 2e-3
    bag_rate: float = 3e-4
    pairs: int = 80
    switched: int = 24
    english: int = 16
    questions: int = 56
    passages: int = 1
    negatives: int = 4_096
    temperature: float = 0.05
    cosine: float = 12.0
    retrieval: float = 0.3
    drop: float = 0.05
    longest: int = 64
    averaged: float = 0.1


_WARM_UP = 30
_FALL, _AGAIN = 0.6, 0.7
_KEEP_EVERY = 50


def train(
    student: Student,
    prepared: Prepared,
    english_weight: NDArray[np.float64],
    switcher: CodeSwitcher,
    teacher: NDArray[np.float16],
    recipe: Recipe,
    checkpoint: Path,
    *,
    watch: Callable[[Student], str] | None = None,
    watch_every: int = 150,
) -> Student:
    """Train a student, or go on from where a stopped run was kept.

    The target of every text is the vector that the teacher gives its English original, so the
    English side is never run: foreign texts, English texts with words replaced, English texts and
    passages are drawn to it by cosine, and the first two by a contrast too, against the vectors of
    other English texts and against each other. Questions are drawn to the teacher's vectors of
    their passages, against those of all others.

    Args:
        student: where it starts.
        prepared: the corpus.
        english_weight: how often each English text of the pairs is drawn.
        switcher: writes English texts with words of other languages.
        teacher: the teacher's vectors.
        recipe: how to train.
        checkpoint: where the state is kept now and then.
        watch: called now and then with the student; what it returns is shown.
        watch_every: in steps.

    Returns:
        A student with weights averaged over the last steps.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    groups = [
        {"params": list(student.body()), "lr": recipe.body_rate},
        {"params": [student.tokens], "lr": recipe.token_rate},
        {"params": [student.bag], "lr": recipe.bag_rate},
    ]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, recipe))
    average: dict[str, Tensor] = {}
    step, spent = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=student.tokens.device, weights_only=True)
        student.load_state_dict(state["student"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        rng.bit_generator.state = state["rng"]
        average, step, spent = state["average"], state["step"], state["spent"]
        say(f"going on from step {step:,}")
    batches = _Batches(
        prepared, english_weight, switcher, teacher, recipe, rng, student.tokens.device
    )
    student.rounded = True
    recent: dict[str, float] = {}
    start = time.monotonic() - spent
    first = round(recipe.steps * (1 - recipe.averaged))
    while step < recipe.steps:
        losses = batches.losses(student, bag=step < recipe.together)
        loss = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        step += 1
        for name, value in losses.items():
            recent[name] = recent.get(name, value.item()) * 0.95 + 0.05 * value.item()
        if step > first:
            _add_to(average, student, step - first)
        spent = time.monotonic() - start
        if step % 10 == 0 or step == recipe.steps:
            left = spent * (recipe.steps - step) / step
            parts = ", ".join(f"{name} {value:.3f}" for name, value in recent.items())
            say(f"step {step:,}/{recipe.steps:,}: {parts}; {clock(left)} left")
        if step % _KEEP_EVERY == 0 and step < recipe.steps:
            _keep(checkpoint, student, optimiser, schedule, rng, average, step, spent)
        if watch and step % watch_every == 0 and step < recipe.steps:
            pause = time.monotonic()
            say(watch(student))
            start += time.monotonic() - pause
    student.load_state_dict(average)
    return student


def _rate(step: int, recipe: Recipe) -> float:
    """Of the highest learning rates: falling, up again when the losses change, falling to 0."""
    if step < recipe.together:
        return min(1, (step + 1) / _WARM_UP) * (1 - _FALL * step / recipe.together)
    left = (recipe.steps - step) / (recipe.steps - recipe.together)
    return _AGAIN * min(1, (step - recipe.together + 1) / _WARM_UP) * left


class _Batches:
    """Draws batches and computes their losses."""

    def __init__(
        self,
        prepared: Prepared,
        english_weight: NDArray[np.float64],
        switcher: CodeSwitcher,
        teacher: NDArray[np.float16],
        recipe: Recipe,
        rng: np.random.Generator,
        device: torch.device,
    ) -> None:
        self._device = device
        self._translations, self._retrieval = prepared.translations, prepared.retrieval
        self._switcher, self._recipe, self._rng = switcher, recipe, rng
        self._teacher = torch.from_numpy(teacher).to(device)
        self._passages = self._teacher[self._tensor(self._retrieval.teacher_of)].float()
        self._pairs = draw(rng, self._translations.weight, recipe.pairs)
        self._english = draw(rng, english_weight, recipe.english)
        self._asked = draw(rng, self._retrieval.weight, recipe.questions)

    def losses(self, student: Student, *, bag: bool) -> dict[str, Tensor]:
        """Draw a batch; its losses, weighted, by name."""
        recipe, rng = self._recipe, self._rng
        pairs, english, asked = next(self._pairs), next(self._english), next(self._asked)
        passages = rng.integers(0, len(self._passages), recipe.passages)
        switched, originals = self._switcher.draw(rng, recipe.switched)
        vectors = student.embed(
            [
                *self._texts(self._translations.foreign, pairs, recipe.longest, recipe.drop),
                *switched,
                *self._texts(self._translations.english, english, recipe.longest),
                *self._texts(self._retrieval.questions, asked, recipe.longest, recipe.drop),
                *self._texts(self._retrieval.passages, passages, MAX_LENGTH),
            ],
            bag=bag,
        )
        sizes = [len(pairs) + len(switched), len(english), len(asked), len(passages)]
        foreign, own, questions, read = torch.split(vectors, sizes)
        rows = np.concatenate([self._translations.english_of[pairs], originals])
        target = self._targets(rows)
        cosine = recipe.cosine
        return {
            "translation": self._contrast(foreign, target, self._tensor(rows)),
            "cosine": cosine * distance(foreign, target),
            "English": cosine / 2 * distance(own, self._targets(english)),
            "passages": cosine / 2 * distance(read, self._passages[self._tensor(passages)]),
            "search": recipe.retrieval
            * F.cross_entropy(
                questions @ self._passages.T / recipe.temperature,
                self._tensor(self._retrieval.answer[asked]),
            ),
        }

    def _targets(self, rows: Array) -> Tensor:
        return self._teacher[self._tensor(self._translations.teacher_of[rows])].float()

    def _tensor(self, rows: Array) -> Tensor:
        return torch.from_numpy(rows).to(self._device)

    def _texts(self, bags: Bags, rows: Array, longest: int, drop: float = 0) -> list[list[int]]:
        texts = []
        for row in rows:
            ids = bags.flat[bags.starts[row] : bags.starts[row] + bags.lengths[row]]
            if drop and len(ids) > 4:
                ids = ids[self._rng.random(len(ids)) >= drop]
            texts.append(around(ids.tolist(), longest))
        return texts

    def _contrast(self, texts: Tensor, target: Tensor, rows: Tensor) -> Tensor:
        """Cross entropy of each text to its target, against other texts and others' targets."""
        same = rows[:, None] == rows[None, :]
        own = torch.eye(len(texts), dtype=torch.bool, device=self._device)
        other = self._rng.integers(0, len(self._teacher), self._recipe.negatives)
        scores = torch.cat(
            [
                (texts @ target.T).masked_fill(same & ~own, -torch.inf),
                (texts @ texts.T).masked_fill(same, -torch.inf),
                texts @ self._teacher[self._tensor(other)].float().T,
            ],
            dim=1,
        )
        return F.cross_entropy(
            scores / self._recipe.temperature, torch.arange(len(texts), device=self._device)
        )


def _add_to(average: dict[str, Tensor], student: Student, count: int) -> None:
    """Take the student's weights into a mean of ``count`` of them."""
    for name, value in student.state_dict().items():
        if count == 1:
            average[name] = value.clone()
        else:
            average[name] += (value - average[name]) / count


def _keep(
    path: Path,
    student: Student,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    rng: np.random.Generator,
    average: dict[str, Tensor],
    step: int,
    spent: float,
) -> None:
    state: dict[str, Any] = {
        "student": student.state_dict(),
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state_dict(),
        "rng": rng.bit_generator.state,
        "average": average,
        "step": step,
        "spent": spent,
    }
    unfinished = path.with_suffix(".unfinished")
    torch.save(state, unfinished)
    unfinished.rename(path)
