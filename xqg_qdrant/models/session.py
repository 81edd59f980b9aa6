"""Opening what a model folder holds: ONNX graphs and tokenizers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from xqg_qdrant.errors import InputError, ModelError

if TYPE_CHECKING:
    import onnxruntime
    from tokenizers import Tokenizer

MAX_THREADS = 1_024
"""onnxruntime starts as many as it is told, and a million of them never end starting."""


def check_threads(threads: int | None) -> None:
    """Check a number of threads.

    Raises:
        InputError: it is not from 1 to 1024.
    """
    if threads is None:
        return
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
        raise InputError(f"threads is {threads!r}: give a number from 1 to {MAX_THREADS}")


def open_session(
    path: Path,
    *,
    threads: int | None,
    inputs: Collection[str],
    outputs: Collection[str],
    arena: bool = False,
) -> onnxruntime.InferenceSession:
    """Open a graph on the CPU.

    Args:
        path: of the ONNX file.
        threads: that it runs on; all cores when None.
        inputs: names that it must have.
        outputs: names that it must have.
        arena: keep the memory of one run for the next, which is faster. It holds on to the most
            that any run took, so runs must be bounded.

    Raises:
        ModelError: onnxruntime cannot load it, or it has other inputs or outputs.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = arena
    try:
        session = onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise ModelError(f"{path}: onnxruntime cannot load it: {error}") from error
    found_inputs = {each.name for each in session.get_inputs()}
    found_outputs = {each.name for each in session.get_outputs()}
    if not set(inputs) <= found_inputs or not set(outputs) <= found_outputs:
        raise ModelError(
            f"{path}: wanted inputs {' and '.join(inputs)} and output {' and '.join(outputs)}, "
            f"found inputs {sorted(found_inputs)} and outputs {sorted(found_outputs)}"
        )
    return session


def open_tokenizer(path: Path, *, max_length: int) -> Tokenizer:
    """Open a tokenizer that cuts texts at ``max_length`` tokens and does not pad.

    Raises:
        ModelError: the file is no tokenizer.
    """
    from tokenizers import Tokenizer

    with tokenizer_errors(f"{path}: not a tokenizer that takes {max_length} tokens"):
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        # Truncation by the tokenizer itself keeps the special tokens that close a text.
        tokenizer.enable_truncation(max_length=max_length)
    return tokenizer


@contextmanager
def tokenizer_errors(what: str) -> Iterator[None]:
    """Turn what *tokenizers* raises, panics of its Rust included, into errors of ours.

    Raises:
        ModelError: whatever was raised inside.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise ModelError(f"{what}: {error}") from error
