"""Figures on the development half of XQuAD's first 24 articles, and on AfriQA's dev split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.corpus import XQUAD_LANGUAGES, Development

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


class Figures(NamedTuple):
    """How high the right passage ranks."""

    r1: float
    r10: float
    mrr10: float

    def __str__(self) -> str:
        return f"R@1 {self.r1:.3f} R@10 {self.r10:.3f} MRR@10 {self.mrr10:.3f}"


class Report(NamedTuple):
    """Figures by language.

    Attributes:
        xquad: against the 120 paragraphs of articles 1-24.
        harder: against those and 120 passages of AfriQA.
        afriqa: AfriQA's dev questions against all of its passages.
    """

    xquad: dict[str, Figures]
    harder: dict[str, Figures]
    afriqa: dict[str, Figures]


def figures(
    questions: NDArray[np.float32], passages: NDArray[np.float32], right: Sequence[int]
) -> Figures:
    """Rank all passages for every question; a passage that scores the same counts as better."""
    scores = questions @ passages.T
    own = scores[np.arange(len(scores)), np.asarray(right)]
    rank = (scores >= own[:, None]).sum(axis=1)
    found = rank <= 10
    return Figures(
        float((rank == 1).mean()), float(found.mean()), float(np.where(found, 1 / rank, 0).mean())
    )


def evaluate(development: Development, queries: Encode, passages: Encode) -> Report:
    """All figures.

    Args:
        development: questions and pools.
        queries: encodes questions.
        passages: encodes passages.
    """
    pool = passages(development.passages)
    harder = np.concatenate([pool, passages(development.more_passages)])
    # Long to encode, and of use only with questions.
    afriqa_pool = passages(development.afriqa_passages if development.afriqa else [""])
    xquad: dict[str, Figures] = {}
    more: dict[str, Figures] = {}
    for language, asked in sorted(development.questions.items()):
        vectors = queries([text for text, _ in asked])
        right = [index for _, index in asked]
        xquad[language] = figures(vectors, pool, right)
        more[language] = figures(vectors, harder, right)
    afriqa = {
        language: figures(
            queries([text for text, _ in asked]), afriqa_pool, [index for _, index in asked]
        )
        for language, asked in sorted(development.afriqa.items())
    }
    return Report(xquad, more, afriqa)


def average(by_language: dict[str, Figures], languages: Sequence[str] = XQUAD_LANGUAGES) -> Figures:
    """The mean over languages."""
    rows = np.array([by_language[language] for language in languages])
    return Figures(*(float(value) for value in rows.mean(axis=0)))


def summary(report: Report) -> str:
    """One line: the ten languages' average and English, both pools."""
    line = (
        f"ten languages {average(report.xquad)}, English {report.xquad['en']}; "
        f"harder pool {average(report.harder)}, English {report.harder['en']}"
    )
    if report.afriqa:
        line += f"; AfriQA dev {average(report.afriqa, tuple(report.afriqa))}"
    return line


def markdown(report: Report) -> str:
    """The figures as Markdown tables."""
    lines = [
        "| language | R@1 | R@10 | MRR@10 | R@1, 240 | R@10, 240 | MRR@10, 240 |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [(code, report.xquad[code], report.harder[code]) for code in XQUAD_LANGUAGES]
    rows.append(("**average of ten**", average(report.xquad), average(report.harder)))
    for code in sorted(set(report.xquad) - set(XQUAD_LANGUAGES)):
        rows.append((code, report.xquad[code], report.harder[code]))
    for name, near, far in rows:
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in (*near, *far)) + " |")
    if report.afriqa:
        lines += ["", "| AfriQA dev | R@1 | R@10 | MRR@10 |", "|---|---|---|---|"]
    for name, found in report.afriqa.items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in found) + " |")
    return "\n".join(lines)
