from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tests.evaluation.test_measures import hits
from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.comparison import Comparison, PValues, compare
from xqg_qdrant.evaluation.measures import AVERAGE, JudgedRun, Scores, score
from xqg_qdrant.records import Qrel

LANGUAGES = {"en": 30, "ha": 40, "sw": 25}


def scores(name: str, seed: int, shift: float = 0.0, *, clusters: bool = False) -> Scores:
    """Random scores of 95 questions in three languages."""
    names = [(language, number) for language, n in LANGUAGES.items() for number in range(n)]
    values = np.random.default_rng(seed).random(len(names)) + shift
    return Scores(
        name,
        tuple(f"{language}:{number}" for language, number in names),
        tuple(language for language, _ in names),
        tuple(str(n) if clusters else f"{language}:{n}" for language, n in names),
        {"MRR@10": values},
        np.zeros(len(names), dtype=np.bool_),
    )


def by_language(compared: list[Comparison]) -> dict[str, Comparison]:
    return {each.language: each for each in compared}


def test_figures_and_tests_of_each_language() -> None:
    system, baseline = scores("xQG", 1, 0.1), scores("plain", 2)
    found = by_language(compare(system, baseline))
    assert list(found) == ["en", "ha", "sw", AVERAGE]
    a, b = system.values["MRR@10"][30:70], baseline.values["MRR@10"][30:70]
    row = found["ha"]
    assert (row.system, row.baseline, row.n) == ("xQG", "plain", 40)
    assert row.value == pytest.approx(a.mean())
    assert row.difference == pytest.approx((a - b).mean())
    assert row.low < row.difference < row.high
    assert (row.better, row.worse) == ((a > b).sum(), (a < b).sum())
    assert row.t_test.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert row.randomization.p == pytest.approx(row.t_test.p, abs=0.02)


def test_p_values_are_corrected_over_the_languages_and_the_average_stands_alone() -> None:
    found = by_language(compare(scores("xQG", 1, 0.1), scores("plain", 2)))
    for kind in ("t_test", "randomization"):
        p = {name: getattr(found[name], kind).p for name in LANGUAGES}
        lowest = min(p, key=lambda name: p[name])
        for name in LANGUAGES:
            values: PValues = getattr(found[name], kind)
            assert values.bonferroni == pytest.approx(min(1, 3 * p[name]))
            assert p[name] <= values.holm <= values.bonferroni
        assert getattr(found[lowest], kind).holm == getattr(found[lowest], kind).bonferroni
        average: PValues = getattr(found[AVERAGE], kind)
        assert average.p == average.holm == average.bonferroni


def test_the_average_is_over_languages_other_than_english() -> None:
    system, baseline = scores("xQG", 1), scores("plain", 2)
    found = by_language(compare(system, baseline))
    difference = (found["ha"].difference + found["sw"].difference) / 2
    assert found[AVERAGE].difference == pytest.approx(difference)
    assert found[AVERAGE].n == 65
    assert found[AVERAGE].low < difference < found[AVERAGE].high


def test_translations_are_tested_as_one_question() -> None:
    """The same difference in every language is no more evidence than in one."""
    values = np.random.default_rng(3).normal(0.1, 0.3, 50)
    both = np.concatenate([values, values])

    def shape(name: str, found: np.ndarray, *, clusters: bool) -> Scores:
        ids = [(language, n) for language in ("ha", "sw") for n in range(50)]
        return Scores(
            name,
            tuple(f"{language}:{n}" for language, n in ids),
            tuple(language for language, _ in ids),
            tuple(str(n) if clusters else f"{language}:{n}" for language, n in ids),
            {"m": found},
            np.zeros(100, dtype=np.bool_),
        )

    joint = by_language(
        compare(shape("a", both, clusters=True), shape("b", np.zeros(100), clusters=True))
    )
    assert joint[AVERAGE].t_test.p == pytest.approx(joint["ha"].t_test.p)
    apart = by_language(
        compare(shape("a", both, clusters=False), shape("b", np.zeros(100), clusters=False))
    )
    assert apart[AVERAGE].t_test.p < joint[AVERAGE].t_test.p


def test_a_system_beside_itself() -> None:
    for row in compare(scores("a", 1), scores("b", 1)):
        assert (row.difference, row.low, row.high, row.better, row.worse) == (0, 0, 0, 0, 0)
        assert row.t_test == row.randomization == PValues(1, 1, 1)


def test_the_same_to_the_last_digit() -> None:
    assert compare(scores("a", 1), scores("b", 2)) == compare(scores("a", 1), scores("b", 2))


def test_the_order_in_which_questions_come_does_not_matter() -> None:
    languages = {f"q{n}": "ha" if n % 3 else "sw" for n in range(40)}
    qrels = [Qrel(question, "p1") for question in languages]

    def judged(name: str, every: int, questions: list[str]) -> JudgedRun:
        run = {q: hits("p1") if int(q[1:]) % every else hits("x", "p1") for q in questions}
        order = sorted(qrels, key=lambda qrel: questions.index(qrel.question_id))
        return JudgedRun(name, tuple(order), run, languages)

    forward, backward = list(languages), list(reversed(languages))
    once = compare(score(judged("a", 2, forward)), score(judged("b", 5, forward)))
    assert once == compare(score(judged("a", 2, backward)), score(judged("b", 5, backward)))


def test_other_questions_or_measures_are_refused() -> None:
    qrels = (Qrel("q1", "p1"), Qrel("q2", "p1"))
    languages = {"q1": "ha", "q2": "ha"}
    both = score(JudgedRun("both", qrels, {}, languages))
    one = score(JudgedRun("one", qrels[:1], {}, languages))
    with pytest.raises(InputError, match="'q2' is in one alone"):
        compare(both, one)
    with pytest.raises(InputError, match=r"R@1, R@10, MRR@10 and nDCG@10"):
        compare(both, score(JudgedRun("other", qrels, {}, languages), ["nDCG@10"]))


def test_a_comparison_is_a_json_object() -> None:
    row = compare(scores("a", 1), scores("b", 2))[0].to_json()
    assert row["t_test"].keys() == {"p", "bonferroni", "holm"}
    assert row["measure"] == "MRR@10"
