"""Human judgements under open licences: SummEval, HH-RLHF and two conjoint experiments."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from micro_paper.data import hub
from micro_paper.data.criteria import CRITERIA
from micro_paper.data.frames import Built, Messages, duplicate_conflicts, from_ratings, from_rows, merge_turns
from micro_paper.data.lines import read_jsonl
from micro_paper.data.pairs import digest
from micro_paper.data.sources import fetch, in_mirror
from micro_paper.errors import InputError, MissingError

SUMMEVAL_ATTRIBUTES = ("coherence", "consistency", "fluency", "relevance")
SUMMEVAL_PROMPT = "Summarize this article in a few sentences.\n\n{article}"


def summeval() -> Built:
    """SummEval as rated responses: 100 articles, 16 summaries each, four attributes, means of three experts (1-5).

    All 1,600 summaries are kept: a summary that two systems wrote alike stays two rated responses. Pairs of identical
    texts with different ratings are counted in `skipped`.
    """
    skipped: Counter[str] = Counter()
    wide = _summeval_ratings(skipped)
    skipped["identical texts rated differently"] = duplicate_conflicts(wide, list(SUMMEVAL_ATTRIBUTES))
    return from_ratings(wide, "summeval", CRITERIA["summeval"], skipped, list(SUMMEVAL_ATTRIBUTES))


def summeval_reversals() -> Built:
    """SummEval as reversals: a pair of summaries of which attribute i prefers one and attribute j the other.

    Every pair of differing summaries of one article and every two attributes (i, j) that disagree strictly on it make
    one reversal, so a pair split two against two makes four. A reversal gives two rows, with the criteria of i and j.
    """
    skipped: Counter[str] = Counter()
    wide = _summeval_ratings(skipped)
    rated = from_ratings(wide, "summeval", CRITERIA["summeval"], skipped, list(SUMMEVAL_ATTRIBUTES))
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rated.frame.to_dict("records"):
        groups.setdefault(row["comparison_id"], []).append(row)
    rows = []
    for judgements in groups.values():
        for one, other in itertools.combinations(judgements, 2):
            if (one["chosen"], one["rejected"]) != (other["chosen"], other["rejected"]):
                rows += [{**one, "partner": other["attribute"]}, {**other, "partner": one["attribute"]}]
    return from_rows(rows, "summeval-reversals", rated.skipped)


def summeval_systems() -> pd.DataFrame:
    """Return who wrote each summary: prompt_id, response, prompt, system and the four attributes, a row a summary.

    The hub's copy does not name its systems but keeps their order, so that there a system is its place in the list.
    """
    rows, articles = _summeval_rows(Counter())
    systems = [r["system"] for r in rows] if articles else [str(i) for r in rows for i in range(len(r["coherence"]))]
    return summeval_table(rows, articles).assign(system=systems)


def _summeval_ratings(skipped: Counter[str]) -> pd.DataFrame:
    return summeval_table(*_summeval_rows(skipped))


def _summeval_rows(skipped: Counter[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    summaries = in_mirror("summeval/summaries.jsonl")
    articles = in_mirror("summeval/docs.jsonl")
    if summaries and articles:
        return read_jsonl(summaries), read_jsonl(articles)
    return hub.rows("summeval", "test", skipped), None


def summeval_table(rows: list[dict[str, Any]], articles: list[dict[str, Any]] | None = None) -> pd.DataFrame:
    """Return SummEval as a wide rating table.

    Args:
        rows: the mirror's shape (doc_id, system, text, scores) with `articles` (doc_id, src), or the hub's shape (id,
            text, machine_summaries, and one list of ratings an attribute).

    Raises:
        InputError: a row whose lists differ in length, or a rating that is no number.
    """
    if articles is not None:
        text = {a["doc_id"]: a["src"] for a in articles}
        flat = [
            (r["doc_id"], text[r["doc_id"]], r["text"], *(r["scores"][a] for a in SUMMEVAL_ATTRIBUTES)) for r in rows
        ]
    else:
        flat = []
        for number, r in enumerate(rows, start=1):
            lists = [r["machine_summaries"], *(r[a] for a in SUMMEVAL_ATTRIBUTES)]
            numbers = all(isinstance(value, (int, float)) for ratings in lists[1:] for value in ratings)
            if len({len(values) for values in lists}) > 1 or not numbers:
                raise InputError(f"summeval: row {number} has not one rating a summary: is this summeval?")
            flat += [(r["id"], r["text"], *values) for values in zip(*lists, strict=True)]
    table = pd.DataFrame(flat, columns=["prompt_id", "article", "response", *SUMMEVAL_ATTRIBUTES])
    ratings = {a: table[a].astype(float).round(6) for a in SUMMEVAL_ATTRIBUTES}  # thirds, whatever wrote them
    prompt = [SUMMEVAL_PROMPT.format(article=a) for a in table["article"]]
    return table[["prompt_id", "response"]].assign(prompt=prompt, **ratings)


def hh_rlhf() -> Built:
    """HH-RLHF test pairs with the human label: attribute helpful or harmless, prompts as chat messages.

    Some upstream answers are empty; they are kept, because a person preferred the other one. Offensive text.
    """
    skipped: Counter[str] = Counter()
    path = in_mirror("hh_rlhf_human_test/hh_human_test.jsonl.gz")
    if path:
        rows = [hh_row(r, r["subset"]) for r in read_jsonl(path)]
    else:
        rows = [
            hh_row(r, subset)
            for subset in ("harmless", "helpful")
            for r in hub.rows("hh_rlhf_human_test", "test", skipped, data_dir=f"{subset}-base")
        ]
    skipped["unreadable dialogues"] = sum(not r for r in rows)
    return from_rows([r for r in rows if r], "hh_rlhf_human_test", skipped)


def hh_row(row: dict[str, Any], subset: str) -> dict[str, Any] | None:
    """Convert one pair; None where its dialogue cannot be read, or goes on with a human turn behind a reply.

    Args:
        row: the mirror's shape (prompt, chosen, rejected), or the hub's (chosen and rejected as whole transcripts).
        subset: helpful or harmless.
    """
    if "prompt" in row:
        prompt, chosen, rejected = row["prompt"], row["chosen"], row["rejected"]
    else:
        prompt, found, chosen = row["chosen"].rpartition("\n\nAssistant:")
        other, also, rejected = row["rejected"].rpartition("\n\nAssistant:")
        if not found or not also or prompt != other:
            return None
        chosen, rejected = chosen.removeprefix(" "), rejected.removeprefix(" ")
    if any("\n\nHuman:" in reply for reply in (chosen, rejected)):
        return None
    messages = merge_turns(dialogue(prompt))
    if messages and messages[-1]["role"] == "assistant":  # the assistant speaks twice: one reply
        opening = messages.pop()["content"] + "\n\n"
        chosen, rejected = opening + chosen, opening + rejected
    if not messages or messages[-1]["role"] != "user":
        return None
    return {
        "prompt": messages,
        "chosen": chosen,
        "rejected": rejected,
        "attribute": subset,
        "context": CRITERIA["hh_rlhf_human_test"][subset],
    }


def dialogue(text: str) -> Messages:
    """Return the turns of a transcript that marks them with "Human:" and "Assistant:" after a blank line."""
    parts = re.split(r"(?:^|\n\n)(Human|Assistant):", text.strip())
    turns = zip(parts[1::2], parts[2::2], strict=True)
    return [{"role": "user" if who == "Human" else "assistant", "content": said.strip()} for who, said in turns]


CONJOINT: dict[str, dict[str, Any]] = {
    "conjoint-taxes": {
        "file": "conjoint_taxes_immigration/taxes",
        "user": "ID",
        "task": None,
        "won": "chose_plan",
        "group": "taxes_harm_economy",
        "profile": ("taxrate1", "taxrate2", "taxrate3", "taxrate4", "taxrate5", "taxrate6", "taxrev"),
        "attitudes": ("taxes_harm_economy", "inequality_aversion", "partyid"),
    },
    "conjoint-immigration": {
        "file": "conjoint_taxes_immigration/immigration",
        "user": "CaseID",
        "task": "contest_no",
        "won": "ChosenImmigrant",
        "group": "ethnocentrism",
        "attitudes": ("ethnocentrism",),
        "profile": (
            "Education",
            "Gender",
            "CountryOfOrigin",
            "ReasonForApplication",
            "Job",
            "JobExperience",
            "JobPlans",
            "PriorEntry",
            "LanguageSkills",
        ),
    },
}

_STATED = {
    ("taxes_harm_economy", "yes"): "I think that higher taxes harm the economy.",
    ("taxes_harm_economy", "no"): "I do not think that higher taxes harm the economy.",
    ("inequality_aversion", "yes"): "Large differences between incomes bother me.",
    ("inequality_aversion", "no"): "Differences between incomes do not bother me.",
    ("partyid", "Republican"): "I am a Republican.",
    ("partyid", "Democrat"): "I am a Democrat.",
    ("partyid", "Independent"): "I am an independent.",
    ("ethnocentrism", "high"): "I feel much warmer towards my own group than towards other groups.",
    ("ethnocentrism", "low"): "I feel about as warm towards other groups as towards my own.",
}
NOT_STATED = "not stated"


def conjoint(name: str, group: str | None = None) -> Built:
    """A forced-choice experiment: two profiles, one chosen, by a person who stated attitudes.

    No texts. `features` is the one-hot difference of the profiles, chosen less rejected; `feature_names` names its
    entries; the profile order inside a task is lost, as chosen comes first. `prompt_id` is the person, so that splits
    hold out people; `user_id` too. `attribute` is "GROUP=VALUE", `context` the person's stated attitudes in words (""
    for none), and each attitude is a column of its own.

    Args:
        name: conjoint-taxes or conjoint-immigration.
        group: the attitude that `attribute` tells; default taxes_harm_economy; ethnocentrism (halves at the median).
    """
    spec = CONJOINT[name]
    group = group or spec["group"]
    if group not in spec["attitudes"]:
        raise InputError(f"group must be one of {', '.join(spec['attitudes'])} for {name}, got {group!r}")
    table = _conjoint_table(spec)
    won = table[spec["won"]].astype(float).to_numpy()
    person = table[spec["user"]].to_numpy()
    if len(table) % 2 or (person[::2] != person[1::2]).any() or (won[::2] + won[1::2] != 1).any():
        raise InputError(f"{spec['file']}: rows do not come in pairs of one person with exactly one chosen profile")
    onehot, names = _one_hot(table, spec["profile"])
    first = won[::2] == 1
    sign = np.where(first, 1.0, -1.0)[:, None]
    features = (onehot[::2] - onehot[1::2]) * sign
    labels = {a: _attitude(table[a].iloc[::2], a) for a in spec["attitudes"]}
    raw = {a: table[a].iloc[::2].to_list() for a in spec["attitudes"]}
    number = pd.factorize(person[::2])[0]  # people by order of appearance, whatever the file calls them
    rows = []
    for k, vector in enumerate(features):
        user = f"{name}-{number[k]:04d}"
        said = [_STATED[a, labels[a][k]] for a in spec["attitudes"] if (a, labels[a][k]) in _STATED]
        rows.append(
            {
                "prompt": "",
                "chosen": "",
                "rejected": "",
                "prompt_id": user,
                "user_id": user,
                "comparison_id": digest(name, str(k)),
                "attribute": f"{group}={labels[group][k]}",
                "context": " ".join(said),
                "features": vector.tolist(),
                **{a: None if pd.isna(raw[a][k]) else raw[a][k] for a in spec["attitudes"]},
            }
        )
    built = from_rows(rows, name)
    return Built(built.frame, built.skipped, feature_names=names)


def _conjoint_table(spec: dict[str, Any]) -> pd.DataFrame:
    path = fetch(f"{spec['file']}.csv", f"{spec['file']}.rda")
    if path.suffix == ".csv":  # "None" is a level of JobExperience, not a missing value
        table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    else:
        try:
            import pyreadr
        except ImportError as error:
            raise MissingError(
                f"{path.name} is an R file: set MICRO_PAPER_DATA to a mirror with {spec['file']}.csv, "
                "or install pyreadr"
            ) from error
        table = next(iter(pyreadr.read_r(str(path)).values()))
        table = table.astype({c: object for c in table.columns if isinstance(table[c].dtype, pd.CategoricalDtype)})
        table = table.where(table.ne(""))  # R writes a missing label so
    if spec["task"]:
        table = table.sort_values([spec["user"], spec["task"], "profile"], kind="stable")
    return table.reset_index(drop=True)


def _one_hot(table: pd.DataFrame, columns: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    blocks, names = [], []
    for column in columns:
        value = table[column].astype(object).where(table[column].notna(), "(missing)").astype(str)
        levels = sorted(value.unique())
        blocks.append((value.to_numpy(object)[:, None] == np.array(levels, dtype=object)).astype(float))
        names += [f"{column}: {level}" for level in levels]
    return np.hstack(blocks), tuple(names)


def _attitude(values: pd.Series, name: str) -> list[str]:
    """Say each stated value in a word: yes or no, high or low (against the median of those stated), or as it is."""
    if name == "partyid":
        return [NOT_STATED if pd.isna(v) else str(v) for v in values]
    numbers = values.astype(float)
    if name == "ethnocentrism":
        middle = float(numbers.median())
        return [NOT_STATED if pd.isna(v) else "high" if v > middle else "low" for v in numbers]
    return [NOT_STATED if pd.isna(v) else "yes" if v else "no" for v in numbers]
