"""The table of data sets: kind, licence, source and builder of each name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from micro_paper.data import bench, hub, ukp, wmt
from micro_paper.data import open as opened
from micro_paper.data.corpus import build as corpus
from micro_paper.data.corpus.ratings import ATTRIBUTES
from micro_paper.data.corpus.text import DIMENSIONS
from micro_paper.data.criteria import CRITERIA
from micro_paper.data.frames import Built, from_ratings
from micro_paper.data.lines import read_jsonl


@dataclass(frozen=True)
class DatasetInfo:
    """What a data set is and where it comes from.

    Attributes:
        name, pool: names with the same texts share a pool, for which features are extracted once.
        kind: "rated" (responses with ratings), "criteria" (two criteria that disagree on each pair), "binary" (one
            judgement a pair) or "tabular" (feature differences, no text).
        licence, citation: of the data, which this project does not contain unless the name is ours.
        url, sha256: pinned public files and their hashes, in the same order; the hub's address has no hash here.
        attributes: attribute names; for "criteria" sets the known ones.
        text: whether there are texts.
        options: the options of `load` that only this data set has.
    """

    name: str
    pool: str
    kind: str
    licence: str
    url: tuple[str, ...]
    sha256: tuple[str, ...]
    citation: str
    attributes: tuple[str, ...]
    text: bool = True
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One line of the table; `files` is how its files' names in the registry of sources start, `hub` a repository,
    `options` have defaults."""

    build: Callable[..., Built]
    kind: str
    licence: str
    citation: str
    pool: str = ""
    files: str = ""
    hub: str = ""
    attributes: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


def _smoke() -> Built:
    wide = pd.DataFrame(
        [
            {**{k: r[k] for k in ("prompt_id", "prompt", "response")}, **r["ratings"]}
            for r in read_jsonl(Path(__file__).with_name("smoke_texts.jsonl"))
        ]
    )
    return from_ratings(wide, "smoke-texts", CRITERIA["smoke-texts"])


_HUB_OPTIONS = {"path": None, "max_rows": None, "seed": 0}
_STATES = {"taxes_harm_economy": ("yes", "no"), "ethnocentrism": ("high", "low")}


def _hub(name: str, kind: str, licence: str, citation: str) -> Entry:
    return Entry(partial(hub.build, name), kind, licence, citation, hub=hub.HUB[name].repository, options=_HUB_OPTIONS)


def _conjoint(name: str, citation: str) -> Entry:
    group = opened.CONJOINT[name]["group"]
    return Entry(
        partial(opened.conjoint, name),
        "tabular",
        "MIT (R package cregg)",
        citation,
        files=opened.CONJOINT[name]["file"],
        options={"group": None},
        attributes=tuple(f"{group}={value}" for value in (*_STATES[group], opened.NOT_STATED)),
    )


def _bundled(builder: Callable[..., Built], kind: str, **options: Any) -> Entry:
    return Entry(
        builder,
        kind,
        "Apache-2.0 (this project's own; labels constructed, not human)",
        "micro-paper",
        pool="bundled",
        attributes=ATTRIBUTES if kind == "rated" else DIMENSIONS,
        options={"seed": 0, "sealed": False, **options},
    )


def _stated(name: str, kind: str) -> Entry:
    return _bundled(partial(corpus.stated, name), kind, phrasing="free")


def _ukp(builder: Callable[..., Built], attributes: tuple[str, ...], **options: Any) -> Entry:
    return Entry(
        builder,
        "binary",
        "CC-BY-4.0; arguments from createdebate.com (CC-BY-3.0) and convinceme.net (public domain)",
        "Habernal and Gurevych (2016), UKPConvArg1, ACL",
        pool="ukp",
        files=ukp.FOLDER,
        attributes=attributes,
        options=options,
    )


_SUMMEVAL = "Fabbri et al. (2021), SummEval, TACL 9; expert ratings as stored by BARTScore (Yuan et al. 2021)"
_SUMMEVAL_LICENCE = "MIT (SummEval), Apache-2.0 (BARTScore); articles CNN/DailyMail"
ENTRIES: dict[str, Entry] = {
    "smoke-texts": Entry(_smoke, "rated", "Apache-2.0 (this project's own)", "micro-paper"),
    "bundled-audience": _bundled(corpus.audience, "binary", labels="drawn"),
    "bundled-rpr": _stated("bundled-rpr", "binary"),
    "bundled-rpr-aligned": _stated("bundled-rpr-aligned", "binary"),
    "bundled-rpr-opposed": _stated("bundled-rpr-opposed", "binary"),
    "bundled-reversals": _stated("bundled-reversals", "criteria"),
    "bundled-rpr-balanced": _stated("bundled-rpr-balanced", "criteria"),
    "bundled-topics": _bundled(corpus.by_topic, "binary"),
    "bundled-helpsteer": _bundled(corpus.helpsteer, "rated"),
    "summeval": Entry(opened.summeval, "rated", _SUMMEVAL_LICENCE, _SUMMEVAL, hub="mteb/summeval"),
    "summeval-reversals": Entry(
        opened.summeval_reversals, "criteria", _SUMMEVAL_LICENCE, _SUMMEVAL, pool="summeval", hub="mteb/summeval"
    ),
    "hh_rlhf_human_test": Entry(opened.hh_rlhf, "binary", "MIT", "Bai et al. (2022), HH-RLHF", hub="Anthropic/hh-rlhf"),
    "conjoint-taxes": _conjoint("conjoint-taxes", "Ballard-Rosa, Martin and Scheve (2017)"),
    "conjoint-immigration": _conjoint("conjoint-immigration", "Hainmueller, Hopkins and Yamamoto (2014)"),
    "ukp-criteria": _ukp(ukp.criteria, tuple(ukp.PATTERNS), uncoded=False),
    "ukp-workers": _ukp(ukp.workers, (ukp.CONVINCING,)),
    "ukp-mix": _ukp(ukp.mixed, tuple(ukp.PATTERNS)),
    "wmt-mqm": Entry(
        wmt.build,
        "rated",
        "Apache-2.0; sources are news texts of WMT 2023",
        "Freitag et al. (2021), MQM human evaluation; WMT 2023 Chinese to English, rated side by side",
        files=wmt.FILE,
        options={"raters": False},
    ),
    "llmbar": Entry(bench.llmbar, "binary", "MIT", "Zeng et al. (2024), LLMBar", files="llmbar/"),
    "xstest": Entry(bench.xstest, "binary", "CC-BY-4.0", "Roettger et al. (2024), XSTest", files="xstest/"),
    "humanevalpack": Entry(
        bench.humanevalpack, "binary", "MIT", "Muennighoff et al. (2024), OctoPack", files="humanevalpack/"
    ),
    "gsm8k_solutions": Entry(bench.gsm8k, "binary", "MIT", "Cobbe et al. (2021), GSM8K", files="gsm8k_solutions/"),
    "pandalm": Entry(bench.pandalm, "binary", "Apache-2.0", "Wang et al. (2024), PandaLM", files="pandalm/"),
    "hhh_alignment": Entry(
        bench.hhh_alignment,
        "binary",
        "Apache-2.0",
        "Askell et al. (2021), HHH alignment; copy of Prometheus (Kim et al. 2024)",
        files="hhh_alignment/",
    ),
    "helpsteer2": _hub("helpsteer2", "rated", "CC-BY-4.0", "Wang et al. (2024), HelpSteer2"),
    "rpr": _hub("rpr", "criteria", "CDLA-Permissive-2.0", "Pitis et al. (2024), RPR"),
    "preference_700k": _hub("preference_700k", "binary", "mixed, see the data card", "Dong et al. (2024), RLHFlow"),
    "pku_saferlhf": _hub(
        "pku_saferlhf", "binary", "CC-BY-NC-4.0: never redistribute", "Ji et al. (2024), PKU-SafeRLHF"
    ),
    "reward_bench": _hub(
        "reward_bench", "binary", "ODC-BY, and those of its parts", "Lambert et al. (2024), RewardBench"
    ),
}
