"""From a torch module to an ONNX model."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
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
        with quiet():
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
