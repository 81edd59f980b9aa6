from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from xqg_qdrant.errors import InputError
from xqg_qdrant.languages import (
    LanguageDetector,
    language_name,
    normalize_language,
    parse_languages,
)

SENTENCES = {
    "ar": "متى بدأ بناء الأهرامات في مصر؟",
    "de": "Wann begann der Bau der Pyramiden in Ägypten?",
    "en": "When did the building of the pyramids in Egypt begin?",
    "es": "¿Cuándo empezó la construcción de las pirámides de Egipto?",
    "hi": "मिस्र में पिरामिडों का निर्माण कब शुरू हुआ?",
    "ja": "エジプトのピラミッドの建設はいつ始まりましたか？",
    "ru": "Когда началось строительство пирамид в Египте?",
    "sw": "Ujenzi wa piramidi nchini Misri ulianza lini?",
    "zh": "埃及的金字塔是什么时候开始建造的？",
}


@pytest.mark.parametrize(
    ("code", "normal"),
    [
        ("en", "en"),
        ("EN", "en"),
        ("hau", "ha"),
        ("swa", "sw"),
        ("deu", "de"),
        ("ger", "de"),
        ("zh-Hant", "zh"),
        ("zh-Hant-TW", "zh"),
        ("pt_BR", "pt"),
        ("ar-EG", "ar"),
        ("iw", "he"),
        ("kin", "rw"),
        ("pcm", "pcm"),
    ],
)
def test_a_code_has_one_spelling(code: str, normal: str) -> None:
    assert normalize_language(code) == normal
    assert normalize_language(normal) == normal


@pytest.mark.parametrize(
    "code",
    ["", " ", "xx", "english", "en ", "en us", "en-", "und", "\ud800", "zh\0", "en\n", "e" * 500],
)
def test_an_unknown_code_is_refused_by_name(code: str) -> None:
    with pytest.raises(InputError) as error:
        normalize_language(code)
    assert repr(code) in str(error.value)
    assert "give an ISO 639 code such as" in str(error.value)
    str(error.value).encode()


@pytest.mark.parametrize(
    ("codes", "parsed"),
    [
        ("", ()),
        (" , ", ()),
        ("sw", ("sw",)),
        ("sw, de,hau", ("sw", "de", "ha")),
        ("de,swa,sw,de-AT", ("de", "sw")),
        (["zh-Hans", " zh ", "en"], ("zh", "en")),
        ((code for code in ("en", "de")), ("en", "de")),
    ],
)
def test_lists_of_codes_keep_the_first_of_equals(codes: str, parsed: tuple[str, ...]) -> None:
    assert parse_languages(codes) == parsed


def test_one_unknown_code_in_a_list_is_refused() -> None:
    with pytest.raises(InputError, match="unknown language code 'xx'"):
        parse_languages("en,xx,de")


@pytest.mark.parametrize("language", SENTENCES)
def test_a_question_is_detected_among_the_languages_at_hand(language: str) -> None:
    assert LanguageDetector(SENTENCES).detect(SENTENCES[language]) == language


@pytest.mark.parametrize("text", [*SENTENCES.values(), "???", "12", "\ud83e\udd89", "x" * 100_000])
def test_detection_never_leaves_the_given_languages(text: str) -> None:
    assert LanguageDetector(["de", "swa"]).detect(text) in ("de", "sw")


def test_detectors_do_not_disturb_one_another() -> None:
    first = LanguageDetector(["de", "en"])
    second = LanguageDetector(["ru", "zh"])
    assert first.detect(SENTENCES["de"]) == "de"
    assert second.detect(SENTENCES["ru"]) == "ru"
    assert first.detect(SENTENCES["en"]) == "en"


def test_one_language_is_always_the_answer_and_none_never() -> None:
    assert LanguageDetector(["sw"]).detect(SENTENCES["ru"]) == "sw"
    assert LanguageDetector([]).detect(SENTENCES["ru"]) is None


def test_languages_without_a_model_are_set_aside() -> None:
    detector = LanguageDetector(["fon", "de", "bem", "en"])
    assert detector.languages == ("de", "en")
    assert detector.undetectable == ("fon", "bem")
    assert detector.detect(SENTENCES["de"]) == "de"
    assert LanguageDetector(["fon"]).detect("A fɔn ganji a?") is None


@pytest.mark.parametrize("code", ["tl", "fil", "kik", "ki"])
def test_languages_that_the_detector_spells_otherwise_are_detectable(code: str) -> None:
    detector = LanguageDetector([code, "ru"])
    assert detector.undetectable == ()
    assert detector.detect("Kailan sinimulan ang pagtatayo?") == normalize_language(code)
    assert detector.detect(SENTENCES["ru"]) == "ru"


def test_an_unknown_language_cannot_be_detected() -> None:
    with pytest.raises(InputError, match="unknown language code 'xx'"):
        LanguageDetector(["de", "xx"])


def test_detection_from_many_threads_agrees() -> None:
    start = threading.Barrier(4)

    def work(number: int) -> list[str | None]:
        start.wait()
        own = LanguageDetector([["de", "en"], ["ru", "zh"]][number % 2])
        return [own.detect(SENTENCES[code]) for code in [("de", "en"), ("ru", "zh")][number % 2]]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [["de", "en"], ["ru", "zh"]] * 2


def test_languages_have_the_names_that_generators_know() -> None:
    codes = ["ar", "bn", "fi", "ja", "ko", "ru", "te", "sw", "el", "zh", "pa"]
    assert [language_name(code) for code in codes] == [
        "Arabic",
        "Bengali",
        "Finnish",
        "Japanese",
        "Korean",
        "Russian",
        "Telugu",
        "Swahili",
        "Greek",
        "Chinese",
        "Punjabi",
    ]
    with pytest.raises(InputError, match="'xx' has no name"):
        language_name("xx")
