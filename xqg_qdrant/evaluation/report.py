"""A report: one self-contained HTML page, and its rows as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from xqg_qdrant.corpus.catalogue import DataSet
from xqg_qdrant.corpus.writing import replacing
from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.comparison import Comparison, PValues
from xqg_qdrant.evaluation.experiments import Curve
from xqg_qdrant.evaluation.measures import Row
from xqg_qdrant.evaluation.page import render

_PACKAGES = (
    "xqg-qdrant",
    "qdrant-edge-py",
    "qdrant-client",
    "onnxruntime",
    "tokenizers",
    "ir-measures",
    "numpy",
    "scipy",
)
_MEASURED = [each.name for each in fields(Row)]
_TESTS = ("t_test", "randomization")
_COMPARED = [each.name for each in fields(Comparison) if each.name not in _TESTS]
_COMPARED += [f"{test}_{each.name}" for test in _TESTS for each in fields(PValues)]


@dataclass(frozen=True, slots=True)
class Table:
    """Figures in an order of their own, as text.

    Attributes:
        title: what it shows.
        header: of its columns.
        lines: cells of each line; one that begins with a space belongs to the one above it.
        note: a sentence.
    """

    title: str
    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a report tells.

    Attributes:
        title: of the page.
        rows: figures of all systems, the baseline's first.
        comparisons: of systems with baselines.
        settings: what was measured and how, by name.
        curves: along what was varied.
        notes: sentences.
        data: the data set, for its licence; None where it is the user's own.
        versions: of what it was measured with.
        tables: in front of the charts.
    """

    title: str
    rows: Sequence[Row]
    comparisons: Sequence[Comparison] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    curves: Sequence[Curve] = ()
    notes: Sequence[str] = ()
    data: DataSet | None = None
    versions: Mapping[str, str] = field(default_factory=lambda: versions())
    tables: Sequence[Table] = ()


def versions() -> dict[str, str]:
    """Of Python and of the packages that figures hang on."""
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from its sources
            continue
    return found


def write_report(folder: Path, report: Report) -> Path:
    """Write ``report.html``, ``report.json``, ``rows.csv`` and ``comparisons.csv``.

    Returns:
        The page.

    Raises:
        InputError: the folder cannot be made, or a file cannot be written there.
        StorageError: the disk is full.
    """
    make_folder(folder)
    page = folder / "report.html"
    files = {
        folder / "report.json": json.dumps(_as_json(report), ensure_ascii=False, indent=1) + "\n",
        folder / "rows.csv": _csv(_MEASURED, [row.to_json() for row in report.rows]),
        folder / "comparisons.csv": _csv(_COMPARED, [_flat(row) for row in report.comparisons]),
        page: render(report),
    }
    for path, text in files.items():
        with replacing(path) as stream:
            stream.write(text)
    return page


def make_folder(folder: Path) -> None:
    """Make the folder of a report, where it is not there.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror}") from None


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "title": report.title,
        "settings": dict(report.settings),
        "rows": [row.to_json() for row in report.rows],
        "comparisons": [row.to_json() for row in report.comparisons],
        "curves": [
            {"title": each.title, "x": each.x, "measure": each.measure, "lines": each.lines}
            for each in report.curves
        ],
        "notes": list(report.notes),
        "tables": [asdict(each) for each in report.tables],
        "data": None
        if report.data is None
        else {
            "name": report.data.name,
            "licence": report.data.licence,
            "source": report.data.source,
        },
        "versions": dict(report.versions),
    }


def _flat(comparison: Comparison) -> dict[str, Any]:
    """A comparison with its p-values beside one another: ``t_test_holm`` and so on."""
    row = comparison.to_json()
    for test in _TESTS:
        row.update({f"{test}_{name}": p for name, p in row.pop(test).items()})
    return row


def _csv(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV with a header; values are written so that they are read back to the last digit."""
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
