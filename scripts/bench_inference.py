"""Measure encoders and generators beside the other ways to run the same weights on a CPU.

Encoders of three shapes run beside torch, sentence-transformers (torch and its ONNX backend) and
fastembed; a generator of mt5-small's shape, whole and with a trimmed vocabulary, beside torch,
optimum's ONNX Runtime and CTranslate2. Weights are random and everything is made here, once, under
``--work`` (about 16 GB). All systems take turns within each round, on the same threads; beside each
figure stands its ratio to torch, round by round: medians with quartiles. Each table is measured in
a process of its own. ``--part memory`` reads the resident size over a long run (Linux's /proc).

Needs the `bench` extra. Prints Markdown tables for ``docs/performance.md``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click
from inference import encoder_systems, encoders, generators, memory, profiling
from inference.checkpoints import (
    ENCODERS,
    GENERATOR,
    TINY_ENCODER,
    TINY_GENERATOR,
    TRIMMED,
    WHOLE,
)
from inference.timing import head, progress

PARTS = ("encoders", "generators", "memory")
MODELS = (WHOLE, TRIMMED)
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
"""What torch, CTranslate2 and tokenizers read when they start."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Attributes:
        rounds: of each table of encoders.
        passages: a round.
        queries: a round.
        generator_rounds: of each table of generators.
        slow_every: rounds from one turn of the slow generators to the next.
        windows: steps of the encoders' long run.
        window: passages of each.
        batches: steps of the generator's long run.
    """

    rounds: int
    passages: int
    queries: int
    generator_rounds: int
    slow_every: int
    windows: int
    window: int
    batches: int


FULL = Sizes(3, 128, 20, 5, 2, 40, 64, 20)
QUICK = Sizes(2, 64, 4, 2, 1, 4, 40, 4)


@click.command()
@click.option("--part", type=click.Choice([*PARTS, "all"]), default="all", show_default=True)
@click.option(
    "--shape",
    "shapes",
    type=click.Choice(list(ENCODERS)),
    multiple=True,
    default=list(ENCODERS),
    show_default=True,
    help="Encoders that are measured; the long run takes the last.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    multiple=True,
    help="A table for each.  [default: 1 and 2 for encoders, else 1]",
)
@click.option("--rounds", type=click.IntRange(1), help="Of each table.  [default: 3; 5]")
@click.option(
    "--passages",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSONL with a text field, such as XQuAD's paragraphs; else sentences of the bundled "
    "samples, joined to lengths like theirs.",
)
@click.option(
    "--list",
    "count",
    type=click.IntRange(encoder_systems.BATCH),
    help="Passages of the list.  [default: 128]",
)
@click.option("--profile", is_flag=True, help="Say where the generator's time goes, and no more.")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/bench-inference"),
    show_default=True,
    help="Where checkpoints and exports lie.",
)
@click.option("--fresh", is_flag=True, help="Export ours anew: the exporter has changed.")
@click.option("--quick", is_flag=True, help="Tiny shapes and few rounds: whether it works.")
@click.option("--one", hidden=True, help="Measure one table, in this process.")
def main(
    part: str,
    shapes: tuple[str, ...],
    threads: tuple[int, ...],
    rounds: int | None,
    file: Path | None,
    count: int | None,
    profile: bool,
    work: Path,
    fresh: bool,
    quick: bool,
    one: str | None,
) -> None:
    """Print tables of speed and memory."""
    if one is not None:
        _measure(one.split(), work, rounds=rounds, file=file, count=count, fresh=fresh, quick=quick)
        return
    names = [TINY_ENCODER.name] if quick else list(shapes)
    jobs: list[str] = []
    if profile:
        jobs += [f"profile {name} {many}" for many in threads or [1] for name in MODELS]
    elif part in ("encoders", "all"):
        jobs += [f"encoders {name} {many}" for many in threads or [1, 2] for name in names]
    if not profile and part in ("generators", "all"):
        jobs += [f"generators {name} {many}" for many in threads or [1] for name in MODELS]
    made = list(dict.fromkeys(f"prepare {job.split()[1]} {os.cpu_count()}" for job in jobs))
    if not profile and part in ("memory", "all"):
        made += [f"prepare {name} {os.cpu_count()}" for name in (names[-1], TRIMMED)]
        long_runs = [
            f"{system} {TRIMMED if system == memory.GENERATOR else names[-1]} {many}"
            for many in threads or [1]
            for system in memory.SYSTEMS
        ]
    else:
        long_runs = []
    for job in [*dict.fromkeys(made), *jobs]:
        _in_a_process(job)
    if long_runs:
        click.echo("### Resident memory over a long run, MiB\n")
        head(memory.HEADS)
    for job in long_runs:
        _in_a_process(f"memory {job}")


def _in_a_process(job: str) -> None:
    """Run this script for one job, with its number of threads in the environment."""
    began = time.perf_counter()
    environment = {**os.environ, **dict.fromkeys(VARIABLES, job.split()[-1])}
    sys.stdout.flush()
    command = [sys.executable, __file__, *sys.argv[1:], "--one", job]
    if subprocess.run(command, env=environment, check=False).returncode:
        raise click.ClickException(f"{job} failed")
    progress(f"{job}: {time.perf_counter() - began:.0f} s")


def _measure(
    job: list[str],
    work: Path,
    *,
    rounds: int | None,
    file: Path | None,
    count: int | None,
    fresh: bool,
    quick: bool,
) -> None:
    sizes = QUICK if quick else FULL
    passages = count or sizes.passages
    work = work / "tiny" if quick else work
    generator = TINY_GENERATOR if quick else GENERATOR
    kind, *system, name, many = job
    threads = int(many)
    encoder = None if name in MODELS else TINY_ENCODER if quick else ENCODERS[name]
    if kind == "prepare" and encoder is None:
        generators.prepare(generator, work, name, fresh=fresh)
    elif kind == "prepare":
        encoder_systems.prepare(encoder, work, fresh=fresh)
    elif kind == "encoders":
        encoders.measure(
            encoder,
            work,
            threads=threads,
            rounds=rounds or sizes.rounds,
            passages=passages,
            queries=sizes.queries,
            file=file,
        )
    elif kind == "generators":
        generators.measure(
            generator,
            work,
            name,
            threads=threads,
            rounds=rounds or sizes.generator_rounds,
            slow_every=sizes.slow_every,
        )
    elif kind == "profile":
        profiling.measure(generator, work, name, threads=threads)
    elif system == [memory.GENERATOR]:
        folder = generators.prepare(generator, work, name, fresh=False).int8
        memory.generate(folder, threads=threads, steps=sizes.batches)
    else:
        encode = memory.open_encoder(system[0], encoder, work, threads)
        memory.encode(
            system[0],
            encode,
            steps=sizes.windows,
            passages=sizes.window,
            file=file,
        )


if __name__ == "__main__":
    main()
