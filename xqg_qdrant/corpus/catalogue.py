"""The data sets that ``xqg eval`` reads: whose they are, under which licence, and where.

Nothing of them is part of this package. Their licences travel with anything derived from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xqg_qdrant.errors import InputError

_LAREQA = "https://raw.githubusercontent.com/google-research-datasets/lareqa"
_LAREQA_COMMIT = "5405d2a77e83d5ccb47623a3f9e5604c3f103193"
_AFRIQA = "https://raw.githubusercontent.com/masakhane-io/afriqa/main/data/gold_passages"
_XORQA = "https://nlp.cs.washington.edu/xorqa/XORQA_site/data"
_BEIR = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to be fetched.

    Attributes:
        url: where it is.
        path: where it goes, below the folder that was asked for.
        digest: ``md5:…`` or ``sha256:…`` of it, as upstream says; "" where upstream does not.
        unpack: ``zip`` for an archive that is to be unpacked beside itself.
    """

    url: str
    path: str
    digest: str = ""
    unpack: Literal["", "zip"] = ""


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set.

    Attributes:
        name: as ``xqg data fetch`` takes it.
        title: what it is.
        languages: of its questions, ISO 639-1.
        licence: its own, not this package's.
        source: where it is described.
        paper: to be cited.
        files: to be fetched; empty where it is fetched in another way.
        fetch: the command that fetches it.
        evaluate: the command that measures on it, once it is there.
        note: what else there is to know.
    """

    name: str
    title: str
    languages: tuple[str, ...]
    licence: str
    source: str
    paper: str
    files: tuple[RemoteFile, ...]
    fetch: str
    evaluate: str
    note: str = ""


def _afriqa_files() -> tuple[RemoteFile, ...]:
    splits = {
        **dict.fromkeys(("bem", "hau", "ibo", "kin", "twi", "zul"), ("dev", "test", "train")),
        "swa": ("test",),
        "yor": ("test", "train"),
    }
    names = [
        f"{code}/gold_span_passages.afriqa.{code}.en.{split}.json"
        for code, found in splits.items()
        for split in found
    ]
    return tuple(RemoteFile(f"{_AFRIQA}/{name}", name) for name in names)


_XQUAD_LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh")
_XOR_LANGUAGES = ("ar", "bn", "fi", "ja", "ko", "ru", "te")
# fmt: off
_MKQA_LANGUAGES = (
    "ar", "da", "de", "en", "es", "fi", "fr", "he", "hu", "it", "ja", "km", "ko", "ms", "nl", "no",
    "pl", "pt", "ru", "sv", "th", "tr", "vi", "zh",
)
# fmt: on

CATALOGUE: tuple[DataSet, ...] = (
    DataSet(
        "xquad-r",
        "XQuAD-R of LAReQA: 1,190 questions in 11 languages, paragraphs and sentences",
        _XQUAD_LANGUAGES,
        "CC BY-SA 4.0",
        "https://github.com/google-research-datasets/lareqa",
        "Roy et al., LAReQA, EMNLP 2020; Artetxe et al., ACL 2020",
        tuple(
            RemoteFile(f"{_LAREQA}/{_LAREQA_COMMIT}/xquad-r/{code}.json", f"{code}.json")
            for code in _XQUAD_LANGUAGES
        ),
        "xqg data fetch xquad-r --to xquad-r",
        "xqg eval xquad-r xquad-r",
        "the bundled encoders were trained on articles 1-16",
    ),
    DataSet(
        "afriqa",
        "AfriQA: questions in African languages, English gold passages",
        ("bem", "ha", "ig", "rw", "sw", "tw", "yo", "zu"),
        "CC BY 4.0",
        "https://github.com/masakhane-io/afriqa",
        "Ogundepo et al., AfriQA, Findings of EMNLP 2023",
        _afriqa_files(),
        "xqg data fetch afriqa --to afriqa",
        "xqg eval afriqa afriqa --split test",
        "the bundled encoders were trained on train and dev",
    ),
    DataSet(
        "xor-tydi",
        "XOR-TyDi retrieve: questions in 7 languages, answers in English Wikipedia",
        _XOR_LANGUAGES,
        "CC BY-SA 4.0",
        "https://nlp.cs.washington.edu/xorqa/",
        "Asai et al., XOR QA, NAACL 2021",
        (
            RemoteFile(
                f"{_XORQA}/xor_dev_retrieve_eng_span_v1_1.jsonl",
                "xor_dev_retrieve_eng_span_v1_1.jsonl",
            ),
            RemoteFile(
                f"{_XORQA}/xor_train_retrieve_eng_span.jsonl", "xor_train_retrieve_eng_span.jsonl"
            ),
        ),
        "xqg data fetch xor-tydi --to xor-tydi",
        "xqg eval xor-tydi xor-tydi/xor_dev_retrieve_eng_span_v1_1.jsonl --corpus CORPUS",
        "questions alone; the corpus is xor-tydi-corpus or xor-tydi-xqg-augmented",
    ),
    DataSet(
        "xor-tydi-corpus",
        "English Wikipedia of 1 February 2019 in passages of 100 words, 18 million",
        ("en",),
        "CC BY-SA 3.0",
        "https://nlp.cs.washington.edu/xorqa/",
        "Asai et al., XOR QA, NAACL 2021",
        (RemoteFile(f"{_XORQA}/models/enwiki_20190201_w100.tsv", "enwiki_20190201_w100.tsv"),),
        "xqg data fetch xor-tydi-corpus --to xor-tydi",
        "xqg eval xor-tydi QUESTIONS --corpus xor-tydi/enwiki_20190201_w100.tsv",
        "13 GB",
    ),
    DataSet(
        "xor-tydi-xqg-augmented",
        "the same passages with 5 generated queries in each of 7 languages",
        _XOR_LANGUAGES,
        "see its page; Wikipedia's text is CC BY-SA 3.0",
        "https://huggingface.co/datasets/ielab/xor-tydi-xqg-augmented",
        "Zhuang, Shou and Zuccon, SIGIR 2023",
        (),
        "huggingface-cli download --repo-type dataset ielab/xor-tydi-xqg-augmented --local-dir DIR",
        "xqg eval xor-tydi QUESTIONS --corpus FILE",
        "630 million queries; JSONL and Parquet are both read",
    ),
    DataSet(
        "mkqa",
        "MKQA: the same 10,000 questions in 26 languages and variants, with answers",
        _MKQA_LANGUAGES,
        "CC BY-SA 3.0",
        "https://github.com/apple/ml-mkqa",
        "Longpre, Lu and Daiber, MKQA, TACL 2021",
        (
            RemoteFile(
                "https://github.com/apple/ml-mkqa/raw/main/dataset/mkqa.jsonl.gz", "mkqa.jsonl.gz"
            ),
        ),
        "xqg data fetch mkqa --to mkqa",
        "xqg eval mkqa mkqa/mkqa.jsonl.gz --corpus CORPUS",
        "no passages of its own: search xor-tydi-corpus, or any other",
    ),
    *(
        DataSet(
            f"beir-{name}",
            title,
            ("en",),
            licence,
            "https://github.com/beir-cellar/beir",
            "Thakur et al., BEIR, NeurIPS 2021",
            (RemoteFile(f"{_BEIR}/{name}.zip", f"{name}.zip", f"md5:{digest}", "zip"),),
            f"xqg data fetch beir-{name} --to beir",
            f"xqg eval beir beir/{name} --measures nDCG@10,R@100",
            "any other folder in BEIR's layout is read as well",
        )
        for name, title, licence, digest in (
            (
                "scifact",
                "SciFact of BEIR: scientific claims against 5,183 abstracts",
                "CC BY-NC 2.0",
                "5f7d1de60b170fc8027bb7898e2efca1",
            ),
            (
                "nfcorpus",
                "NFCorpus of BEIR: medical questions against 3,633 abstracts",
                "for academic use, see https://www.cl.uni-heidelberg.de/statnlpgroup/nfcorpus/",
                "a89dba18a62ef92f7d323ec890a0d38d",
            ),
        )
    ),
)


def data_set_named(name: str) -> DataSet:
    """The data set of that name.

    Raises:
        InputError: there is none.
    """
    for each in CATALOGUE:
        if each.name == name:
            return each
    names = ", ".join(each.name for each in CATALOGUE)
    raise InputError(f"unknown data set {name!r}: there are {names}")
