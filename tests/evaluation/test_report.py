from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.evaluation.test_comparison import scores
from xqg_qdrant.corpus.catalogue import data_set_named
from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.comparison import compare
from xqg_qdrant.evaluation.experiments import Curve
from xqg_qdrant.evaluation.measures import AVERAGE, rows_of
from xqg_qdrant.evaluation.report import Report, Table, write_report

NASTY = "<script>alert('x')</script> & \"co\""


@pytest.fixture
def report() -> Report:
    system, baseline = scores(NASTY, 1, 0.2), scores("plain", 2)
    return Report(
        f"Report on {NASTY}",
        [*rows_of(baseline, resamples=100), *rows_of(system, resamples=100)],
        compare(system, baseline, resamples=200),
        {"encoder": NASTY},
        notes=[NASTY],
        data=data_set_named("xquad-r"),
    )


class Strict(HTMLParser):
    """Sees that every element is closed."""

    VOID = ("meta", "br", "line", "rect", "circle", "path", "polyline")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in self.VOID or (tag == "rect" and not self.get_starttag_text().endswith("/>")):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_stands_alone(report: Report, tmp_path: Path) -> None:
    page = write_report(tmp_path / "report", report).read_text(encoding="utf-8")
    parser = Strict()
    parser.feed(page)
    assert parser.open == []
    assert {"svg", "table", "style"} <= parser.seen
    assert "script" not in parser.seen
    # Nothing is loaded from anywhere; the one link is the data set's source.
    assert re.findall(r'(?:href|src)="([^"]*)"', page) == [data_set_named("xquad-r").source]
    assert "url(" not in page and "@import" not in page
    assert "CC BY-SA 4.0" in page
    assert "onnxruntime" in page
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)


def test_rows_are_written_to_the_last_digit(report: Report, tmp_path: Path) -> None:
    write_report(tmp_path, report)
    with (tmp_path / "rows.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["system"], float(row["value"]), float(row["low"])) for row in rows] == [
        (row.system, row.value, row.low) for row in report.rows
    ]
    with (tmp_path / "comparisons.csv").open(newline="") as stream:
        compared = list(csv.DictReader(stream))
    assert [float(row["t_test_holm"]) for row in compared] == [
        each.t_test.holm for each in report.comparisons
    ]
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert found["rows"] == [row.to_json() for row in report.rows]
    assert found["comparisons"] == [row.to_json() for row in report.comparisons]
    assert found["data"]["licence"] == "CC BY-SA 4.0"


def test_the_same_input_makes_the_same_files(report: Report, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report(tmp_path / name, report)
    for file in ("report.html", "report.json", "rows.csv", "comparisons.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_curves_have_a_line_a_language(report: Report, tmp_path: Path) -> None:
    lines = {"ha": ((0.0, 0.1), (0.5, 0.3)), AVERAGE: ((0.0, 0.2), (0.5, 0.4))}
    with_curve = replace(report, curves=[Curve("MRR@10 by alpha", "alpha", "MRR@10", lines)])
    page = write_report(tmp_path, with_curve).read_text(encoding="utf-8")
    assert page.count("<polyline") == 2
    assert "ha: best 0.300 at alpha 0.5" in page


def test_curves_of_systems_have_a_colour_each(report: Report, tmp_path: Path) -> None:
    lines = dict.fromkeys(("fused", "per-language, hybrid"), ((0.0, 0.1), (0.5, 0.3)))
    with_curve = replace(report, curves=[Curve("MRR@10 by alpha", "alpha", "MRR@10", lines)])
    page = write_report(tmp_path, with_curve).read_text(encoding="utf-8")
    assert 'class="line l0"' in page
    assert 'class="line l1"' in page
    assert "Thick: the average" not in page


def test_hybrid_systems_have_a_chart_of_their_own_and_averages_an_overview(
    report: Report, tmp_path: Path
) -> None:
    names = ("none", "queries", "none, hybrid", "queries, hybrid")
    found = {name: scores(name, number) for number, name in enumerate(names)}
    compared = [
        each
        for name, baseline in (
            *((name, "none") for name in names[1:]),
            ("queries, hybrid", "none, hybrid"),
            ("queries, hybrid", "queries"),
        )
        for each in compare(found[name], found[baseline], resamples=50)
    ]
    rows = [row for each in found.values() for row in rows_of(each, resamples=50)]
    whole = replace(report, rows=rows, comparisons=compared)
    page = write_report(tmp_path, whole).read_text(encoding="utf-8")
    assert page.index("<h3>Dense</h3>") < page.index("<h3>Hybrid: fused with the lexical")
    assert page.count('<div class="tile ') == 2  # hybrid figures stand with the dense ones
    assert "Minus none, MRR@10, average" in page
    assert "Hybrid, minus the same without its lexical side, MRR@10, average" in page
    assert "Minus none, hybrid" not in page  # one pair is no overview
    parser = Strict()
    parser.feed(page)
    assert parser.open == []


def test_tables_stand_in_front(report: Report, tmp_path: Path) -> None:
    table = Table("R@2kt <percent>", ("", "ha"), (("mine", "41.10*"),), "of the paper")
    page = write_report(tmp_path, replace(report, tables=[table])).read_text(encoding="utf-8")
    assert page.index("R@2kt &lt;percent&gt;") < page.index("<svg")
    assert "<td>41.10*</td>" in page and "of the paper" in page
    [found] = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["tables"]
    assert found["lines"] == [["mine", "41.10*"]]


def test_rows_alone_are_enough(report: Report, tmp_path: Path) -> None:
    bare = Report("t", [replace(row, low=None, high=None) for row in report.rows[:1]])
    page = write_report(tmp_path, bare).read_text(encoding="utf-8")
    assert "Differences" not in page
    header, *lines = (tmp_path / "comparisons.csv").read_text().splitlines()
    assert lines == []
    write_report(tmp_path, report)
    assert (tmp_path / "comparisons.csv").read_text().splitlines()[0] == header


def test_a_place_that_cannot_be_written(report: Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be made"):
        write_report(tmp_path / "file" / "report", report)
