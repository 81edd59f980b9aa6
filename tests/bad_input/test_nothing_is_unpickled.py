"""No code of ours unpickles, evaluates text, or lets a library do so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*(ROOT / "xqg_qdrant").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")])

MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "yaml",
}
CALLS = {"eval", "exec", "compile", "__import__", "unpickle", "read_pickle"}
KEYWORDS = {"allow_pickle": False, "weights_only": True, "trust_remote_code": False}
NEEDED = {"torch.load": "weights_only"}
"""What has to be said to torch; numpy's default is not to unpickle."""


def findings(source: str) -> Iterator[str]:
    """What a source does that it may not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [each.name.split(".")[0] for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").split(".")[0]]
        else:
            names = []
        yield from (f"{node.lineno}: import {name}" for name in names if name in MODULES)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in CALLS or called.split(".")[-1] in ("unpickle", "read_pickle"):
            yield f"{node.lineno}: {called}"
        given = {each.arg: each.value for each in node.keywords if each.arg}
        if called in NEEDED and NEEDED[called] not in given:
            yield f"{node.lineno}: {called} without {NEEDED[called]}"
        for name, wanted in KEYWORDS.items():
            value = given.get(name)
            if isinstance(value, ast.Constant) and value.value is not wanted:
                yield f"{node.lineno}: {called}({name}={value.value})"
            elif (
                value is not None
                and not isinstance(value, ast.Constant)
                and called
                in (
                    "np.load",
                    "numpy.load",
                    "torch.load",
                )
            ):
                yield f"{node.lineno}: {called}({name}=…)"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled(path: Path) -> None:
    assert list(findings(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.memory",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
        "eval(text)",
        "pd.read_pickle(path)",
    ],
)
def test_it_would_be_found(source: str) -> None:
    assert list(findings(source))


def test_what_is_right_is_not_found() -> None:
    assert not list(findings("torch.load(p, weights_only=True)\nnp.load(p)\nmodel.eval()"))
