"""What xQG's paper measures, how, and what was published.

Zhuang, Shou and Zuccon, "Augmenting Passage Representations with Query Generation for Enhanced
Cross-Lingual Dense Retrieval", SIGIR 2023, https://arxiv.org/abs/2305.03950. Settings and values
are those of the authors' repository, ``README.md`` of https://github.com/ielab/xQG4xDR at commit
cea1e944634ac99eab6dbe41036354ba8d3de321: its tables "The results reproduced by this repo". It has
figures of mBERT alone, to two decimals, and no marks of significance. What is not there has no
published value here: none is taken from second hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xqg_qdrant.evaluation.answers import BUDGETS
from xqg_qdrant.evaluation.measures import AVERAGE
from xqg_qdrant.export.presets import EncoderPreset, encoder_preset

PAPER = "https://arxiv.org/abs/2305.03950"
REPOSITORY = "https://github.com/ielab/xQG4xDR"
SOURCE = "https://github.com/ielab/xQG4xDR/blob/cea1e944634ac99eab6dbe41036354ba8d3de321/README.md"

LANGUAGES = ("ar", "bn", "fi", "ja", "ko", "ru", "te")
COLUMNS = (*LANGUAGES, AVERAGE)
"""Of the table, in the paper's order."""

MEASURES = tuple(BUDGETS)
ALPHA = 0.01
QUERIES = 5
"""Generated queries of each passage and language."""

QUESTIONS = dict(zip(LANGUAGES, (309, 304, 314, 241, 285, 237, 238), strict=True))
"""With an answer to look for: not published, but the least that all published values are shares
of, and the published averages are those of these shares."""

PASSAGES_MILLIONS = 18
SHARDS = 19
"""Files of the published augmented set: ``data/shard_0.jsonl`` to ``data/shard_18.jsonl``."""

LAYOUT = "fused"


@dataclass(frozen=True, slots=True)
class PaperEncoder:
    """A dense retriever of the paper.

    Attributes:
        name: of its folder.
        title: as the table calls it.
        model: hub id of the authors' checkpoint; "" where they have published none.
        base: what it was fine-tuned from.
    """

    name: str
    title: str
    model: str
    base: str


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A row of the table.

    Attributes:
        name: what ``--only`` takes.
        title: as the table calls it.
        encoder: of its vectors.
        augmented: by generated queries (xQG).
        published: in percent, for each measure and language; of what is known.
        run: the authors' run file in their repository's ``runs/``, as its README names it; "" where
            it names none.
    """

    name: str
    title: str
    encoder: PaperEncoder
    augmented: bool
    published: Mapping[tuple[str, str], float]
    run: str


MBERT = PaperEncoder(
    "mbert",
    "mBERT",
    "ielabgroup/bert-base-multilingual-cased-xor-tydi",
    "bert-base-multilingual-cased",
)
XLM_R = PaperEncoder("xlm-r", "XLM-R", "", "xlm-roberta-base")

_PUBLISHED = {
    "mbert": {
        "R@2kt": (41.10, 49.01, 52.23, 37.34, 48.07, 33.33, 48.32, 44.20),
        "R@5kt": (49.19, 57.57, 58.60, 42.74, 57.54, 41.35, 55.88, 51.84),
    },
    "mbert-xqg": {
        "R@2kt": (42.39, 54.93, 54.14, 33.61, 52.28, 33.76, 52.52, 46.23),
        "R@5kt": (51.46, 60.53, 58.28, 43.57, 58.60, 40.93, 60.08, 53.35),
    },
}

_RUNS = {
    "mbert": "xortydi_dev_mbert.tsv",
    "mbert-xqg": f"xortydi_dev_mbert_augmented_alpha_{ALPHA:g}.tsv",
}


def _rows() -> tuple[PaperRow, ...]:
    rows = []
    for encoder in (MBERT, XLM_R):
        for augmented in (False, True):
            name = f"{encoder.name}-xqg" if augmented else encoder.name
            published = {
                (measure, language): value
                for measure, values in _PUBLISHED.get(name, {}).items()
                for language, value in zip(COLUMNS, values, strict=True)
            }
            title = f"{encoder.title} + xQG" if augmented else encoder.title
            run = _RUNS.get(name, "")
            rows.append(PaperRow(name, title, encoder, augmented, published, run))
    return tuple(rows)


ROWS = _rows()
FIGURES = ("alpha", "queries")
"""Beside the table: effectiveness by alpha, and by the number of queries a language."""


def settings() -> EncoderPreset:
    """How the paper's encoders pool and cut texts."""
    return encoder_preset("xor-tydi")
