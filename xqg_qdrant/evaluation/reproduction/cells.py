"""The cells of the paper's table: measured, published, and the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from xqg_qdrant.evaluation.answers import OFFICIAL
from xqg_qdrant.evaluation.comparison import LEVEL
from xqg_qdrant.evaluation.measures import AVERAGE
from xqg_qdrant.evaluation.report import Table
from xqg_qdrant.evaluation.reproduction.paper import COLUMNS, MEASURES, SOURCE, PaperRow
from xqg_qdrant.evaluation.reproduction.running import Reproduction

NOTHING = "-"
NOTE = (
    "Measured by the official script's count. * differs from the same encoder without xQG: paired "
    f"t-test, Bonferroni over the languages, p < {LEVEL:g}; the average is a test of its own. "
    f"Published values: {SOURCE}, which marks no significance. {NOTHING}: not measured, or no "
    "published value is known."
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        row: its name.
        measure: ``R@2kt`` or ``R@5kt``.
        language: of the questions, or ``average``.
        measured: in percent, by the official script's count; None where it was not measured.
        published: in percent; None where no published value is known.
        difference: measured minus published.
        n: questions behind what was measured.
        p: of the paired t-test against the same encoder without xQG, by Bonferroni over the
            languages as in the paper; the average's is a test of its own. None where there is none.
        significant: whether that is below .05, either way.
    """

    row: str
    measure: str
    language: str
    measured: float | None
    published: float | None
    difference: float | None
    n: int
    p: float | None
    significant: bool | None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def cells_of(rows: Sequence[PaperRow], found: Reproduction) -> list[Cell]:
    """The cells of these rows, a measure, a row and a language after the other."""
    tests = {(each.system, each.measure, each.language): each for each in found.comparisons}
    cells = []
    for measure in MEASURES:
        for row in rows:
            measured = found.table.get(row.name)
            by_language = {
                each.language: each
                for each in (measured.official if measured is not None else ())
                if each.measure == f"{OFFICIAL} {measure}"
            }
            for language in COLUMNS:
                figure = by_language.get(language)
                value = None if figure is None else 100 * figure.value
                published = row.published.get((measure, language))
                known = value is not None and published is not None
                test = tests.get((row.title, measure, language))
                p = None
                if test is not None:
                    p = test.t_test.p if language == AVERAGE else test.t_test.bonferroni
                cells.append(
                    Cell(
                        row.name,
                        measure,
                        language,
                        value,
                        published,
                        value - published if known else None,  # type: ignore[operator]
                        0 if figure is None else figure.n,
                        p,
                        None if p is None else p < LEVEL,
                    )
                )
    return cells


def table_of(
    measure: str, rows: Sequence[PaperRow], cells: Sequence[Cell], *, comparable: bool
) -> Table:
    """Three lines a row: measured, published, difference; ``*`` marks what is significant."""
    by_place = {(each.row, each.language): each for each in cells if each.measure == measure}
    lines: list[tuple[str, ...]] = []
    for row in rows:
        mine = [by_place[row.name, language] for language in COLUMNS]
        lines += [
            (row.title, *(_measured(each) for each in mine)),
            ("  published", *(_number(each.published) for each in mine)),
            ("  difference", *(_number(each.difference, sign="+") for each in mine)),
        ]
    return Table(
        f"{measure}, percent" + ("" if comparable else " - not comparable with the published"),
        ("", *(f"{language} " for language in COLUMNS)),
        tuple(lines),
    )


def _measured(cell: Cell) -> str:
    return _number(cell.measured)[:-1] + ("*" if cell.significant else " ")


def _number(value: float | None, sign: str = "") -> str:
    """Two decimals, as published, and room for a mark."""
    if value is None:
        return f"{NOTHING} "
    return f"{round(value, 2) + 0.0:{sign}.2f} "
