"""The HTML page of a report: self-contained, without scripts, in light and dark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from xqg_qdrant.evaluation import charts
from xqg_qdrant.evaluation.comparison import LEVEL, Comparison, PValues
from xqg_qdrant.evaluation.experiments import HYBRID
from xqg_qdrant.evaluation.measures import AVERAGE, Row

if TYPE_CHECKING:
    from xqg_qdrant.evaluation.report import Report, Table

_STYLE = """
:root{color-scheme:light dark;--ink:#1b2330;--soft:#5b6676;--line:#d9dee6;--ground:#f6f7f9;
--card:#fff;--band:#eef2f8;--c0:#7a8699;--c1:#2f6fde;--c2:#e0862b;--c3:#1d9a78;--c4:#b0489f;
--c5:#8a6d3b;--c6:#5b51c9;--good:#15805f;--bad:#c0392b}
@media (prefers-color-scheme:dark){:root{--ink:#e8ecf2;--soft:#9aa6b6;--line:#333c49;
--ground:#12161c;--card:#1a2029;--band:#222a36;--c0:#8b97a9;--c1:#6aa0ff;--c2:#f2a755;--c3:#45c9a2;
--c4:#d683c8;--c5:#c4a46c;--c6:#a29bf5;
--good:#45c9a2;--bad:#ff7a6b}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{max-width:1040px;margin:0 auto;padding:36px 20px 60px}
h1{font-size:27px;line-height:1.25;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:18px;margin:0 0 2px}
h3{font-size:15px;margin:22px 0 4px}
p{margin:6px 0}.soft{color:var(--soft)}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;
padding:20px 22px;margin:18px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(180px,1fr));gap:14px;margin:22px 0}
.tile{background:var(--card);border:1px solid var(--line);border-top:4px solid var(--key);
border-radius:12px;padding:14px 16px}
.tile .name{font-size:13px;color:var(--soft);min-height:2.6em;line-height:1.3}
.tile .value{font-size:31px;font-weight:650;font-variant-numeric:tabular-nums;line-height:1.2}
.tile .more{font-size:13px;color:var(--soft);font-variant-numeric:tabular-nums}
.good{color:var(--good)}.bad{color:var(--bad)}
svg{width:100%;height:auto;display:block;margin-top:10px}
svg text{fill:var(--soft);font-size:12px;font-variant-numeric:tabular-nums;white-space:pre}
svg .strong{font-weight:700;fill:var(--ink)}
svg .tick{stroke:var(--line)}svg .zero{stroke:var(--soft);stroke-width:1.5}
svg .band{fill:var(--band)}svg .whisker{stroke:var(--ink);stroke-opacity:.65;fill:none}
svg .line polyline{fill:none;stroke:var(--c0);stroke-width:1.2;stroke-opacity:.75}
svg .line circle{fill:var(--c0)}
svg .line.average polyline{stroke:var(--c1);stroke-width:3;stroke-opacity:1}
svg .line.average circle{fill:var(--c1)}
svg .up line,svg .up circle{stroke:var(--good)}svg .up circle{fill:var(--good)}
svg .down line,svg .down circle{stroke:var(--bad)}svg .down circle{fill:var(--bad)}
svg .flat line,svg .flat circle{stroke:var(--c0)}svg .flat circle{fill:var(--card)}
svg .up line,svg .down line,svg .flat line{stroke-width:2}svg g circle{stroke-width:2}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px;padding:0;margin:8px 0 0;
font-size:13px}
.key{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:7px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums;
margin-top:10px}
th,td{padding:5px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{color:var(--soft);font-weight:600}
tr.average td{font-weight:700;background:var(--band)}
td.text{text-align:left;white-space:normal}
details{margin-top:14px}summary{cursor:pointer;color:var(--soft)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:8px 0 0;font-size:14px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
a{color:var(--c1)}
@media print{body{background:#fff}section,.tile{break-inside:avoid}}
""" + "".join(
    f"svg .s{n}{{fill:var(--c{n})}}.k{n}{{background:var(--c{n})}}.t{n}{{--key:var(--c{n})}}"
    f"svg .l{n} polyline{{stroke:var(--c{n});stroke-width:2.5;stroke-opacity:1}}"
    f"svg .l{n} circle{{fill:var(--c{n})}}"
    for n in range(charts.SERIES)
)


def render(report: Report) -> str:
    """The page of a report."""
    measures = list(dict.fromkeys(row.measure for row in report.rows))
    parts = [
        f"<header><h1>{escape(report.title)}</h1>"
        f'<p class="soft">{escape(_summary(report))}</p></header>',
        _tiles(report),
        *(_own_table(each) for each in report.tables),
        *(_curve_section(report) if report.curves else _bars(report.rows, measures)),
        _comparisons(report.comparisons, measures, shown=1 if report.curves else _OPEN),
        _notes(report.notes),
        _figures(report.rows, measures),
        _about(report),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(report.title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main>{''.join(part for part in parts if part)}</main></body></html>\n"
    )


def _summary(report: Report) -> str:
    languages = {row.language for row in report.rows} - {AVERAGE}
    questions = max((row.n for row in report.rows), default=0)
    return f"{questions:,} questions behind an average, {len(languages)} languages"


def _headline(rows: Sequence[Row]) -> list[Row]:
    """The first measure's average of each system; its only language where there is none."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.measure == rows[0].measure and (row.language == AVERAGE or row.system not in found):
            found[row.system] = row
    return list(found.values())


def _tiles(report: Report) -> str:
    rows = _headline(report.rows)
    if any(AVERAGE in curve.lines for curve in report.curves):
        rows = _ends_of(rows)
    values = {row.system: row for row in rows}
    by_system = {
        each.system: each
        for each in reversed(report.comparisons)
        if each.measure == report.rows[0].measure and each.language in (AVERAGE, rows[0].language)
    }
    tiles = []
    for number, row in enumerate(row for row in rows if _twin(row.system, values) is None):
        interval = "" if row.low is None else f"95 %: {row.low:.3f} to {row.high:.3f}"
        gain = _gain(by_system.get(row.system))
        fused = values.get(row.system + HYBRID)
        if fused is not None:
            gain += f"<br><b>{fused.value:.3f}</b> hybrid{_gain(by_system.get(fused.system))}"
        tiles.append(
            f'<div class="tile t{number % charts.SERIES}"><div class="name">'
            f"{escape(row.system)}</div>"
            f'<div class="value">{row.value:.3f}</div><div class="more">{escape(row.measure)}, '
            f"{escape(row.language)}<br>{interval}{gain}</div></div>"
        )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _twin(system: str, systems: Collection[str]) -> str | None:
    """The system without its lexical side, where that stands there too."""
    twin = system.removesuffix(HYBRID)
    return twin if twin != system and twin in systems else None


def _ends_of(rows: list[Row]) -> list[Row]:
    """Of a sweep: without, the best, and the last, which was cross-validated or has them all."""
    best = max(rows, key=lambda row: row.value)
    return list({row.system: row for row in (rows[0], best, rows[-1])}.values())


def _gain(compared: Comparison | None) -> str:
    if compared is None:
        return ""
    kind = "soft"
    if compared.t_test.holm < LEVEL:
        kind = "good" if compared.difference > 0 else "bad"
    return (
        f'<br><span class="{kind}">{compared.difference:+.3f} over {escape(compared.baseline)}, '
        f"p {_p(compared.t_test.holm)}</span>"
    )


def _comparisons(compared: Sequence[Comparison], measures: Sequence[str], *, shown: int) -> str:
    if not compared:
        return ""
    parts = [
        "<section><h2>Differences</h2>"
        '<p class="soft">Dots are differences of means, lines their 95 % bootstrap intervals; '
        f"filled where the paired t-test, by Holm (over the languages; averages, over the "
        f"systems beside one baseline), is below {LEVEL}.</p>"
    ]
    pairs = list(dict.fromkeys((each.system, each.baseline) for each in compared))
    first = next(measure for measure in measures if any(c.measure == measure for c in compared))
    reach = charts.reach_of([each for each in compared if each.measure == first])
    if len(pairs) > _OPEN:
        overview = _overview([each for each in compared if each.measure == first], reach)
        shown = 0 if overview else shown
        parts += overview
    for number, (system, baseline) in enumerate(pairs):
        taken = [
            each
            for each in compared
            if (each.system, each.baseline, each.measure) == (system, baseline, first)
        ]
        chart = (
            f"<h3>{escape(system)} <span class='soft'>minus</span> {escape(baseline)}, "
            f"{escape(first)}</h3>{charts.forest(taken, reach)}"
        )
        if number >= shown:
            average = next((each for each in taken if each.language == AVERAGE), taken[0])
            told = f"{system} minus {baseline}: {average.difference:+.3f} on average"
            chart = f"<details><summary>{escape(told)}</summary>{chart}</details>"
        parts.append(chart)
    parts.append(
        "<details><summary>All measures and p-values</summary>"
        + _table(
            [
                "",
                "baseline",
                "measure",
                "language",
                "difference",
                "95 % interval",
                "better",
                "worse",
                *(f"{t} {k}" for t in ("t-test", "random.") for k in ("p", "Holm", "Bonf.")),
            ],
            (
                (
                    each.language == AVERAGE,
                    [
                        each.system,
                        each.baseline,
                        each.measure,
                        each.language,
                        f"{each.difference:+.3f}",
                        f"{each.low:+.3f} to {each.high:+.3f}",
                        f"{each.better:,}",
                        f"{each.worse:,}",
                        *_p_values(each.t_test),
                        *_p_values(each.randomization),
                    ],
                )
                for each in compared
            ),
        )
        + "</details></section>"
    )
    return "".join(parts)


def _overview(compared: Sequence[Comparison], reach: float) -> list[str]:
    """All systems beside each baseline, on average; the hybrid ones beside their dense twins."""
    averages = [each for each in compared if each.language == AVERAGE]
    counts = Counter(each.baseline for each in averages)
    groups: dict[str, list[Comparison]] = {}
    for each in averages:
        alone = counts[each.baseline] == 1 and _twin(each.system, {each.baseline})
        heading = "Hybrid, minus the same without its lexical side" if alone else ""
        if alone or counts[each.baseline] > 1:
            groups.setdefault(heading or f"Minus {each.baseline}", []).append(each)
    return [
        f"<h3>{escape(heading)}, {escape(found[0].measure)}, average</h3>"
        f"{charts.forest(found, reach, by_system=True)}"
        for heading, found in groups.items()
    ]


_OPEN = 3
"""Charts of comparisons that are shown at once; others are a click away."""


def _curve_section(report: Report) -> list[str]:
    first, *others = report.curves
    more = "".join(
        f"<details><summary>{escape(each.title)}</summary>{charts.lines(each)}</details>"
        for each in others
    )
    return [
        f"<section><h2>{escape(first.title)}</h2>"
        + (
            '<p class="soft">Thick: the average; thin: each language.</p>'
            * (AVERAGE in first.lines)
        )
        + f"{charts.lines(first)}{more}</section>"
    ]


def _bars(rows: Sequence[Row], measures: Sequence[str]) -> list[str]:
    first, *others = measures
    more = "".join(
        f"<details><summary>{escape(each)}</summary>{_bars_of(rows, each)}</details>"
        for each in others
    )
    return [
        f"<section><h2>{escape(first)} by language</h2>"
        '<p class="soft">Whiskers are 95 % bootstrap intervals.</p>'
        f"{_bars_of(rows, first)}{more}</section>"
    ]


def _bars_of(rows: Sequence[Row], measure: str) -> str:
    """One chart; two of the same scale and colours where systems stand there hybrid too."""
    names = {row.system for row in rows}
    hybrid = {name for name in names if _twin(name, names) is not None}
    if not hybrid:
        return charts.bars(rows, measure)
    top = charts.top_of(rows, measure)
    dense = charts.bars([row for row in rows if row.system not in hybrid], measure, top)
    fused = charts.bars([row for row in rows if row.system in hybrid], measure, top)
    return f"<h3>Dense</h3>{dense}<h3>Hybrid: fused with the lexical ranking</h3>{fused}"


def _own_table(table: Table) -> str:
    note = f'<p class="soft">{escape(table.note)}</p>' if table.note else ""
    lines = ((not cells[0].startswith(" "), cells) for cells in table.lines)
    return f"<section><h2>{escape(table.title)}</h2>{note}{_table(table.header, lines)}</section>"


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    items = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return f"<section><h2>Notes</h2>{items}</section>"


def _figures(rows: Sequence[Row], measures: Sequence[str]) -> str:
    """A line a system and language, a column a measure."""
    values = {(row.system, row.language, row.measure): row for row in rows}
    keys = list(dict.fromkeys((row.system, row.language) for row in rows))

    def line(system: str, language: str) -> tuple[bool, list[str]]:
        mine = [values.get((system, language, measure)) for measure in measures]
        known = [row for row in mine if row is not None]
        missing = str(max(row.missing for row in known))
        cells = [system, language, f"{max(row.n for row in known):,}", missing]
        return language == AVERAGE, [*cells, *(_figure(row) for row in mine)]

    table = _table(
        ["system", "language", "questions", "found nothing", *measures],
        (line(*key) for key in keys),
    )
    return (
        f"<section><h2>Figures</h2><details><summary>All {len(rows):,} figures</summary>"
        f"{table}</details></section>"
    )


def _about(report: Report) -> str:
    parts = ["<section><h2>How it was measured</h2>", _definitions(report.settings)]
    if report.data is not None:
        data = report.data
        link = f'<a href="{escape(data.source)}">{escape(data.source)}</a>'
        parts.append(
            "<h3>Data</h3>"
            + _definitions(
                {"data set": data.title, "licence": data.licence, "paper": data.paper},
                {"source": link},
            )
        )
    parts.append("<h3>Versions</h3>" + _definitions(report.versions))
    return "".join(parts) + "</section>"


def _definitions(found: Mapping[str, str], raw: Mapping[str, str] | None = None) -> str:
    items = [(escape(name), escape(value)) for name, value in found.items()]
    items += list((raw or {}).items())
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in items) + "</dl>"


def _table(header: Sequence[str], lines: Iterable[tuple[bool, Sequence[str]]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        f"<tr{' class=average' if strong else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for strong, cells in lines
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
    )


def _figure(row: Row | None) -> str:
    if row is None:
        return "-"
    return (
        f"{row.value:.3f}"
        if row.low is None
        else f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"
    )


def _p_values(values: PValues) -> list[str]:
    return [_p(values.p), _p(values.holm), _p(values.bonferroni)]


def _p(p: float) -> str:
    return "< .0001" if p < _LEAST else f"{p:.4f}"


_LEAST = 0.0001
