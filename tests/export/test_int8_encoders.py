"""int8 encoders as a whole: exported, loaded, and asked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from tests import checkpoints
from xqg_qdrant import Encoder
from xqg_qdrant.export.checkpoint import open_checkpoint
from xqg_qdrant.export.encoder import export_encoder
from xqg_qdrant.export.settings import EncoderOptions


@pytest.fixture(scope="module", params=["bert", "xlmr"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    root = tmp_path_factory.mktemp(request.param)
    build = getattr(checkpoints, f"build_{request.param}")
    checkpoint = open_checkpoint(str(build(root / "checkpoint", hidden_size=192)))
    pooling = "mean" if request.param == "bert" else "cls"
    options = EncoderOptions(pooling=pooling, normalize=True)
    export_encoder(checkpoint, root / "int8", precision="int8", options=options)
    assert json.loads((root / "int8" / "manifest.json").read_text())["precision"] == "int8"
    return Encoder.load(root / "int8", threads=1)


def test_an_int8_encoder_is_a_quarter_of_its_size(encoder: Encoder) -> None:
    model = onnx.load(encoder.manifest.folder / "model.onnx")
    kinds = {each.op_type for each in model.graph.node}
    assert "MatMulIntegerToFloat" in kinds
    assert "Gemm" not in kinds
    sizes = {TensorProto.FLOAT: 0, TensorProto.INT8: 0}
    for each in model.graph.initializer:
        if each.data_type in sizes:
            sizes[each.data_type] += int(np.prod(each.dims))
    assert sizes[TensorProto.INT8] > 5 * sizes[TensorProto.FLOAT]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_an_int8_vector_does_not_hang_on_its_batch(encoder: Encoder, data: st.DataObject) -> None:
    """Texts of all lengths and languages, padded by one another; mean pooling sums in float32."""
    texts = checkpoints.sample_texts()
    drawn = data.draw(st.lists(st.sampled_from(texts), min_size=2, max_size=12))
    size = data.draw(st.integers(2, 12))
    together = encoder.encode_passages(drawn, batch_size=size)
    alone = encoder.encode_passages(drawn, batch_size=1)
    np.testing.assert_allclose(together, alone, atol=1e-5, rtol=0)


def test_a_vector_is_the_same_at_any_number_of_threads(encoder: Encoder) -> None:
    texts = checkpoints.sample_texts()[::40]
    more = Encoder.load(Path(encoder.manifest.folder), threads=2)
    np.testing.assert_allclose(
        more.encode_passages(texts), encoder.encode_passages(texts), atol=1e-5, rtol=0
    )
