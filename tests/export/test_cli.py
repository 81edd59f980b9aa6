from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests import checkpoints
from tests.behaviour.conftest import XQG
from xqg_qdrant.cli import main

pytest.importorskip("torch", reason="needs the export extra")
pytest.importorskip("transformers", reason="needs the export extra")
pytest.importorskip("onnxscript", reason="needs the export extra")


def xqg(*arguments: object, env: dict[str, str] | None = None) -> Result:
    """Run the command line in this process: torch takes seconds to import."""
    return CliRunner().invoke(main, [str(each) for each in arguments], env=env)


def test_from_a_checkpoint_to_an_answer(tmp_path: Path, bert: Path) -> None:
    models = tmp_path / "models"
    done = xqg(
        *("export", bert, "-o", models / "mine", "--pooling", "mean", "--normalize"),
        *("--query-prefix", "q: ", "--passage-length", 64, "--precision", "int8"),
    )
    assert done.exit_code == 0, done.stderr
    assert "mine (encoder, int8)" in done.stdout
    assert "mean cosine to torch:" in done.stdout
    assert "model.onnx:" in done.stdout
    assert "Rounding to int8 …" in done.stderr
    assert "Warning" not in done.stderr
    manifest = json.loads((models / "mine" / "manifest.json").read_text())
    assert manifest["query"] == {"prefix": "q: ", "max_length": 128}
    assert manifest["passage"] == {"prefix": "", "max_length": 64}

    env = {"XQG_MODELS": str(models), "XQG_ENCODER": "mine"}
    listed = json.loads(xqg("models", "--json", env=env).stdout)
    assert listed[0]["name"] == "mine"
    passages = tmp_path / "p.jsonl"
    passages.write_text('{"id": "nile", "text": "The Nile flows north."}\n')
    where = ("--collection", "c")
    assert xqg("ingest", passages, *where, "--to", tmp_path / "c", env=env).exit_code == 0
    found = xqg("search", "Nile", *where, "--from", tmp_path / "c", "--json", env=env)
    assert "nile" in found.stdout, found.stderr


def test_a_generator_is_told_by_its_architecture(tmp_path: Path, mt5: Path) -> None:
    done = xqg(
        *("export", mt5, "-o", tmp_path / "models" / "writer", "--json", "-q"),
        *("--prompt", "Generate a {language} question: {passage}", "--prompt-length", 48),
        *("--languages", "ar,sw", "--trim-vocab", "ar,sw", "--name", "other"),
    )
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    manifest = answer["manifest"]
    assert (manifest["kind"], manifest["name"]) == ("generator", "other")
    assert manifest["max_length"] == 48
    assert manifest["vocabulary"]["trimmed_to"] == "ar,sw"
    folder = Path(answer["folder"])
    assert json.loads((folder / "manifest.json").read_text()) == manifest


def test_half_of_a_generator_can_be_an_encoder(tmp_path: Path, mt5: Path) -> None:
    done = xqg(
        *("export", mt5, "-o", tmp_path / "models" / "mine", "--kind", "encoder"),
        *("--pooling", "mean", "--normalize", "--passage-length", 32),
    )
    assert done.exit_code == 0, done.stderr
    assert "mine (encoder, fp32)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 1, "give --pooling cls, mean or last and --normalize or --no-normalize"),
        (["--pooling", "max"], 2, "'max' is not one of 'cls', 'mean', 'last'"),
        (["--preset", "nobody's"], 2, "is not one of 'xor-tydi', 'multilingual-e5'"),
        (["--preset", "xqg"], 1, "no encoder preset 'xqg': there are xor-tydi"),
        (["--prompt", "{passage}"], 2, "--prompt is not for models of kind encoder"),
        (["--kind", "generator"], 1, "bert is no generator that can be exported"),
        (["--preset", "xor-tydi", "--trim-vocab", "qq"], 1, "neither a language code nor a file"),
        (["--allow-pickle", "other"], 2, "--allow-pickle names other, the model is"),
        (["--revision", "main"], 1, "a local folder has no revisions"),
        (["--preset", "xor-tydi", "--query-length", "500"], 1, "takes from 2 to 128 tokens"),
    ],
)
def test_wrong_use_is_told(
    tmp_path: Path,
    bert: Path,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    done = xqg("export", bert, "-o", tmp_path / "models" / "mine", *arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "models").exists()


def test_what_is_there_is_found_before_anything_is_loaded(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    done = xqg("export", "no/such-model", "-o", tmp_path / "mine", "--force")
    assert (done.exit_code, "is no model folder" in done.stderr) == (1, True)


def test_without_the_hub(tmp_path: Path) -> None:
    done = subprocess.run(
        [*XQG, "export", "intfloat/multilingual-e5-small", "-o", str(tmp_path / "e5")],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "intfloat/multilingual-e5-small: no such folder, and the hub" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "e5").exists()


def test_pickled_weights_of_the_named_model_are_read(tmp_path: Path) -> None:
    folder = checkpoints.build_bert(tmp_path / "old", safe=False)
    how = ("-o", tmp_path / "mine", "--preset", "xor-tydi", "--passage-length", 32)
    done = xqg("export", folder, *how)
    assert (done.exit_code, f"--allow-pickle {folder}" in done.stderr) == (1, True)
    done = xqg("export", folder, *how, "--allow-pickle", folder)
    assert done.exit_code == 0, done.stderr


def test_an_export_that_is_stopped_leaves_nothing(tmp_path: Path, bert: Path) -> None:
    target = tmp_path / "models" / "mine"
    process = subprocess.Popen(
        [*XQG, "export", str(bert), "-o", str(target), "--preset", "xor-tydi"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "Exporting to ONNX" in line:
            break
    process.send_signal(signal.SIGTERM)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 1
    assert "stopped: nothing was written" in rest
    assert not target.parent.exists()
