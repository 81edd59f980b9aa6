"""From a torch module to an ONNX model."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_qdrant.errors import ModelError, XqgError
from xqg_qdrant.export.checkpoint import first, quiet
from xqg_qdrant.export.folder import INLINE_BYTES, check_room

if TYPE_CHECKING:
    import onnx
    import torch


def to_onnx(
    module: torch.nn.Module,
    example: tuple[torch.Tensor, ...],
    folder: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
    opset: int,
) -> onnx.ModelProto:
    """Trace a module with TorchScript, which keeps the names of axes.

    Args:
        module: ready to evaluate.
        example: its inputs; nothing in them may be taken for always so.
        folder: on the disk that the model will be written to.
        inputs: their names.
        outputs: their names.
        axes: names of the axes that may have any length, by input and output.
        opset: version of ONNX's operators.

    Raises:
        ModelError: it cannot be exported.
        StorageError: the disk is full.
    """
    import onnx
    import torch

    size = sum(each.numel() * each.element_size() for each in module.parameters())

    def export(target: Any) -> None:
        torch.onnx.export(
            module,
            example,
            target,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: dict(each) for name, each in axes.items()},
            opset_version=opset,
            dynamo=False,
        )

    check_room(folder, size)
    try:
        with quiet(), _masks_by_broadcasting():
            if size <= INLINE_BYTES:
                buffer = io.BytesIO()
                export(buffer)
                return onnx.load_model_from_string(buffer.getvalue())
            # Over 2 GiB torch writes a file for each tensor: they are gathered in one later.
            check_room(folder, 2 * size)
            with tempfile.TemporaryDirectory(prefix=".", dir=folder) as parts:
                export(str(Path(parts) / "model.onnx"))
                return onnx.load(str(Path(parts) / "model.onnx"))
    except (OSError, XqgError):
        raise
    except Exception as error:
        raise ModelError(f"the model cannot be exported to ONNX: {first(error)}") from error


@contextmanager
def _masks_by_broadcasting() -> Iterator[None]:
    """Make masks of decoders in a way that TorchScript can follow; transformers uses vmap."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as MASKS

    before = MASKS["eager"]
    MASKS.register("eager", _eager_mask)
    try:
        yield
    finally:
        MASKS.register("eager", before)


def _eager_mask(
    batch_size: int,
    cache_position: torch.Tensor,
    kv_length: int,
    kv_offset: int = 0,
    mask_function: Callable[..., torch.Tensor] | None = None,
    attention_mask: torch.Tensor | None = None,
    dtype: torch.dtype | None = None,
    **rest: Any,
) -> torch.Tensor:
    """What transformers' ``eager_mask`` returns: 0 where a token is seen, else the least number.

    Mask functions take four indices, of text, head, query and key, and compare them or look them
    up: on axes of their own, all are done at once.
    """
    import torch
    from transformers import masking_utils

    function = mask_function or masking_utils.causal_mask_function
    padding = masking_utils.prepare_padding_mask(attention_mask, kv_length, kv_offset, _slice=False)
    if padding is not None:
        function = masking_utils.and_masks(function, masking_utils.padding_mask_function(padding))
    seen = function(
        torch.arange(batch_size)[:, None, None, None],
        torch.arange(1)[None, :, None, None],
        cache_position[None, None, :, None],
        torch.arange(kv_length)[None, None, None, :] + kv_offset,
    ).expand(batch_size, -1, cache_position.shape[0], kv_length)
    dtype = dtype or torch.float32
    return torch.where(seen, torch.tensor(0.0, dtype=dtype), torch.finfo(dtype).min)
