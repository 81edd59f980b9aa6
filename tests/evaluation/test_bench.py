"""Experiments in memory: the same figures as a collection's, and settings chosen on others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.beir import write_beir
from tests.evaluation.test_xquad_r import LETTERS, write_folder
from tests.xquad import paragraph, write_language
from xqg_qdrant import Client, Encoder
from xqg_qdrant.corpus.xquad_r import read_xquad_r
from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.augmentations import compare_augmentations
from xqg_qdrant.evaluation.bench import Bench, Setting, System, among
from xqg_qdrant.evaluation.experiments import (
    BOTH,
    MULTIVECTOR,
    NONE,
    QUERIES,
    SENTENCES,
    TRANSLATION,
    TUNABLE,
    sweep_alpha,
    sweep_languages,
    sweep_queries,
)
from xqg_qdrant.evaluation.measures import AVERAGE, MEASURES, rows_of, score
from xqg_qdrant.evaluation.trials import Addition, open_trial
from xqg_qdrant.evaluation.tuning import cross_validate, try_settings
from xqg_qdrant.evaluation.xquad_r import evaluate_xquad_r
from xqg_qdrant.fusion import fuse


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "xquad-r")


PLAIN = Setting()


def parted(folder: Path) -> Path:
    """German paragraphs that know their questions, in articles of their own."""
    folder.mkdir(exist_ok=True)
    english, german = [], []
    for number, letter in enumerate(LETTERS):
        asked = range(4)
        english.append(
            [paragraph(f"zy {number}.", {f"{number}-{n}": f"what {n}" for n in asked}, ["zy."])]
        )
        german.append(
            [paragraph(letter * 9, {f"{number}-{n}": letter * (5 + n) + "!" for n in asked})]
        )
    write_language(folder, "en", *english)
    write_language(folder, "de", *german)
    return folder


@pytest.fixture
def bench(tmp_path: Path, tiny_encoder: Encoder) -> Bench:
    trial = open_trial(parted(tmp_path / "parted"), sentences=True, translations=True)
    return Bench(tiny_encoder, trial)


def values(bench: Bench, system: System, setting: Setting = PLAIN) -> dict[str, float]:
    [run] = bench.runs(system, [setting], depth=10)
    return {row.language: row.value for row in rows_of(score(run, ["MRR@10"]))}


@pytest.mark.parametrize("layout", ["per-language", "fused"])
@pytest.mark.parametrize("alpha", [0.05, 1.0])
def test_figures_are_those_of_a_collection(
    folder: Path, tiny_encoder: Encoder, layout: str, alpha: float
) -> None:
    with Client(":memory:", encoder=tiny_encoder) as client:
        rows = evaluate_xquad_r(
            client, read_xquad_r(folder), augment="questions", layout=layout, alpha=alpha
        )
    bench = Bench(tiny_encoder, open_trial(folder))
    system = QUERIES
    if layout == "fused":
        system = replace(QUERIES, languages=among(bench.query_languages))
    [run] = bench.runs(system, [Setting(alpha)], depth=10)
    ours = rows_of(score(run, MEASURES))
    assert [(row.language, row.measure, row.n) for row in ours] == [
        (row.language, row.measure, row.n) for row in rows
    ]
    assert [row.value for row in ours] == pytest.approx([row.value for row in rows])


def test_the_control_is_that_of_a_collection(folder: Path, tiny_encoder: Encoder) -> None:
    with Client(":memory:", encoder=tiny_encoder) as client:
        rows = evaluate_xquad_r(client, read_xquad_r(folder), augment="sentences", alpha=0.3)
    bench = Bench(tiny_encoder, open_trial(folder, sentences=True))
    [run] = bench.runs(SENTENCES, [Setting(0.3)], depth=10)
    assert [row.value for row in rows_of(score(run, MEASURES))] == pytest.approx(
        [row.value for row in rows]
    )


@pytest.mark.slow
def test_the_real_xquad_r_gives_the_same_in_memory(
    xquad_r_folder: Path, tiny_encoder: Encoder
) -> None:
    with Client(":memory:", encoder=tiny_encoder) as client:
        data = read_xquad_r(xquad_r_folder)
        rows = evaluate_xquad_r(client, data, augment="questions", alpha=0.1, articles=(23, 24))
    bench = Bench(tiny_encoder, open_trial(xquad_r_folder, articles=(23, 24)))
    [run] = bench.runs(QUERIES, [Setting(0.1)], depth=10)
    assert [row.value for row in rows_of(score(run, MEASURES))] == pytest.approx(
        [row.value for row in rows], abs=1e-3
    )


def test_scores_are_those_of_fused_vectors(bench: Bench, tiny_encoder: Encoder) -> None:
    """Of passage, its translation and queries, worked out with the formula of the fusion."""
    [run] = bench.runs(BOTH, [Setting(0.2, 0.4)], depth=3)
    asked = next(each for each in bench.trial.asked if each.question.lang == "de")
    [question] = tiny_encoder.encode_queries([asked.question.text])
    expected = {}
    for passage in bench.trial.passages:
        [own] = tiny_encoder.encode_passages([passage.text])
        [translated] = tiny_encoder.encode_passages(
            [t.text for t in bench.trial.translations if t.passage_id == passage.id]
        )
        texts = [
            q.text
            for q in bench.trial.queries
            if (q.passage_id, q.lang, q.fold) == (passage.id, "de", asked.fold)
        ]
        assert len(texts) == 2
        assert asked.question.text not in texts
        base = 0.6 * own + 0.4 * translated
        fused = fuse(base, tiny_encoder.encode_queries(texts), 0.2)
        expected[passage.id] = float(fused @ question)
    for hit in run.run[asked.question.id]:
        assert hit.score == pytest.approx(expected[hit.id], abs=1e-5)
    best = sorted(expected.values(), reverse=True)[:3]
    assert [hit.score for hit in run.run[asked.question.id]] == pytest.approx(best, abs=1e-5)


def test_no_question_meets_itself(tmp_path: Path) -> None:
    trial = open_trial(parted(tmp_path / "parted"))
    of_fold = {(q.fold, q.lang, q.text) for q in trial.queries}
    for each in trial.asked:
        assert (each.fold, each.question.lang, each.question.text) not in of_fold or (
            each.question.lang == "en"  # English questions have the same words at each paragraph
        )


def test_translated_passages_help_those_who_speak_the_language(bench: Bench) -> None:
    plain = values(bench, NONE)
    translated = values(bench, TRANSLATION, Setting(beta=1.0))
    assert translated["de"] == 1 > plain["de"]
    assert translated["en"] == plain["en"]


def test_queries_one_by_one_and_by_language(bench: Bench) -> None:
    assert bench.most_queries == 2
    assert bench.query_languages == ("de", "en")
    one = replace(QUERIES, first=1)
    none = replace(QUERIES, first=0)
    assert values(bench, none, Setting(0.0)) == values(bench, NONE)
    assert values(bench, one, Setting(1.0))["de"] == 1
    english = replace(QUERIES, languages=among(["en"]))
    assert values(bench, english, Setting(1.0))["de"] < 1
    # Nobody writes queries in Swahili: the passage alone counts, whatever alpha is.
    swahili = replace(QUERIES, languages=among(["sw"]))
    assert values(bench, swahili, Setting(1.0)) == values(bench, NONE)


def test_settings_are_chosen_on_other_groups(bench: Bench) -> None:
    settings = [Setting(alpha) for alpha in (0.0, 0.2, 1.0)]
    tuned = cross_validate(bench, QUERIES, settings, ["MRR@10"], folds=5)
    groups = np.array([question.split(":")[1][0] for question in tuned.scores.questions])
    for group in sorted(set(groups)):
        rest = groups != group
        best, value = None, -1.0
        for point in tuned.points:
            places = np.array([lang == "de" for lang in point.scores.languages]) & rest
            average = point.scores.values["MRR@10"][places].mean()
            if average > value:
                best, value = point, average
        assert best is not None
        held_out = tuned.scores.values["MRR@10"][~rest]
        assert held_out.tolist() == best.scores.values["MRR@10"][~rest].tolist()
    assert sum(count for _, count in tuned.chosen) == len(tuned.scores.questions)
    assert tuned.best == max(tuned.points, key=lambda point: point.average).setting
    again = cross_validate(bench, QUERIES, settings, ["MRR@10"], folds=5)
    assert again.chosen == tuned.chosen


def test_one_group_cannot_be_cross_validated(folder: Path, tiny_encoder: Encoder) -> None:
    bench = Bench(tiny_encoder, open_trial(folder, articles=(1, 1)))
    with pytest.raises(InputError, match="one group of questions alone"):
        cross_validate(bench, QUERIES, [Setting(0.0), Setting(0.1)], ["MRR@10"])
    [point] = try_settings(bench, QUERIES, [Setting(0.1)], ["MRR@10"])
    assert cross_validate(bench, QUERIES, [Setting(0.1)], ["MRR@10"]).best == point.setting


def test_sweep_of_alpha(bench: Bench) -> None:
    found = sweep_alpha(bench, alphas=(0.1, 1.0), measures=["MRR@10"], resamples=200)
    systems = dict.fromkeys(row.system for row in found.rows)
    assert list(systems) == ["alpha 0", "alpha 0.1", "alpha 1", "alpha by cross-validation"]
    [curve] = found.curves
    assert [x for x, _ in curve.lines["de"]] == [0, 0.1, 1]
    assert curve.lines["de"][-1][1] == 1
    [german] = [each for each in found.comparisons if each.language == "de"]
    assert german.difference > 0
    assert "best over all of them, for others than these, is alpha" in found.notes[0]


def test_sweep_of_queries_says_from_when_on(bench: Bench) -> None:
    found = sweep_queries(bench, alpha=1.0, measures=["MRR@10"], resamples=500)
    averages = {row.system: row.value for row in found.rows if row.language == AVERAGE}
    assert list(averages) == ["0 queries", "1 query", "2 queries"]
    assert averages["2 queries"] == averages["1 query"] == 1 > averages["0 queries"]
    tests = [each.t_test for each in found.comparisons if each.language == AVERAGE]
    assert all(each.bonferroni == pytest.approx(2 * each.p) for each in tests)
    assert "significant from 1 query on" in found.notes[-1]
    assert len(sweep_queries(bench, alpha=1.0, most=1, resamples=0).comparisons) == 0


def test_sweep_of_languages(bench: Bench) -> None:
    found = sweep_languages(bench, alpha=1.0, measures=["MRR@10"], resamples=200)
    german = {row.system: row.value for row in found.rows if row.language == "de"}
    assert german["the asker's language"] == 1
    assert german["English alone"] == german["all but the asker's"] < 1


def test_ways_to_augment_stand_beside_none_and_the_control(bench: Bench) -> None:
    found = compare_augmentations(bench, hybrid=False, measures=["MRR@10"], resamples=200)
    ways = (SENTENCES, QUERIES, TUNABLE, MULTIVECTOR, TRANSLATION, BOTH)
    names = [system.name for system in ways]
    pairs = dict.fromkeys((each.system, each.baseline) for each in found.comparisons)
    assert list(pairs) == [
        *((name, "none") for name in names),
        *((name, SENTENCES.name) for name in names[1:]),
    ]
    german = {row.system: row.value for row in found.rows if row.language == "de"}
    assert german["none"] < german[TRANSLATION.name]


def test_each_way_stands_there_with_the_lexical_side_too(bench: Bench) -> None:
    found = compare_augmentations(bench, measures=["MRR@10"], resamples=50)
    systems = list(dict.fromkeys(row.system for row in found.rows))
    dense, fused = systems[:7], systems[7:]
    assert fused == [f"{name}, hybrid" for name in dense]
    pairs = {(each.system, each.baseline) for each in found.comparisons}
    assert pairs >= {(name, "none, hybrid") for name in fused[1:]}
    assert pairs >= {(name, "own sentences, hybrid") for name in fused[2:]}
    assert pairs >= set(zip(fused, dense, strict=True))
    [tested] = [
        each.t_test
        for each in found.comparisons
        if (each.system, each.baseline, each.language) == ("queries, hybrid", "queries", "average")
    ]
    assert tested.bonferroni == tested.p  # one comparison of its own
    assert any(note.startswith("queries, tunable, hybrid: ") for note in found.notes)


def test_other_data_sets_take_queries_from_a_file(tmp_path: Path, tiny_encoder: Encoder) -> None:
    write_beir(
        tmp_path,
        [{"_id": "d1", "text": "zy"}, {"_id": "d2", "text": "xw. zz."}],
        [{"_id": "q1", "text": "aaaa", "lang": "sw"}, {"_id": "q2", "text": "cccc", "lang": "sw"}],
        [("q1", "d1", 1), ("q2", "d2", 1)],
    )
    with pytest.raises(InputError, match="give --queries"):
        open_trial(tmp_path)
    with pytest.raises(InputError, match="XQuAD-R's alone"):
        open_trial(tmp_path, translations=True)
    queries = tmp_path / "queries-sw.jsonl"
    queries.write_text(
        '{"passage_id": "d1", "lang": "sw", "text": "aaa"}\n'
        '{"passage_id": "d2", "lang": "sw", "text": "ccc"}\n'
    )
    trial = open_trial(tmp_path, queries=queries, sentences=True)
    assert [each.text for each in trial.sentences] == ["zy", "xw.", "zz."]
    bench = Bench(tiny_encoder, trial)
    assert values(bench, QUERIES, Setting(1.0))["sw"] == 1
    with pytest.raises(InputError, match="passage 'd9' is not in the pool"):
        Bench(tiny_encoder, replace(trial, queries=[Addition("d9", "sw", "x")]))


def test_translations_must_be_parallel(tmp_path: Path) -> None:
    write_language(tmp_path, "en", [paragraph("a", {"1": "x"}), paragraph("b", {"2": "y"})])
    write_language(tmp_path, "de", [paragraph("c", {"1": "x"})])
    with pytest.raises(InputError, match="1 paragraphs, the English file has 2"):
        open_trial(tmp_path, translations=True)


@pytest.mark.parametrize("setting", [{"alpha": 1.5}, {"beta": -0.1}])
def test_settings_are_weights(setting: dict[str, float]) -> None:
    with pytest.raises(InputError, match="alpha is"):
        Setting(**setting)
