"""Translations whose errors raters marked and weighed (WMT 2023, Chinese to English, MQM side by side).

The errors of a translation, by kind, are its ratings. Of the upstream file the columns in COLUMNS are read: what is
left out holds the times of the raters' clicks.
"""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from micro_paper.data.criteria import CRITERIA
from micro_paper.data.frames import Built, duplicate_conflicts, from_ratings
from micro_paper.data.sources import fetch
from micro_paper.errors import InputError

FILE = "wmt_mqm_sxs/sxs_mqm_generalMT2023_zhen.3ratingsPerSegment.tsv.tar.gz"
PROMPT = "Translate the sentence from a Chinese news article into English."
ATTRIBUTES = ("accuracy", "fluency", "style")
COLUMNS = ("system", "doc", "docSegId", "globalSegId", "rater", "source", "target", "category", "severity")
KINDS = {  # the first part of an error's category -> the attribute that it counts against
    "Accuracy": "accuracy",
    "Non-translation!": "accuracy",
    "Fluency": "fluency",
    "Style": "style",
} | dict.fromkeys(("Terminology", "Locale convention", "Other", "Source issue", "No-error"))
TENTHS = {"Major": 50, "Minor": 10, "No-error": 0}  # of a point; whole numbers, so that equal sums are equal ratings
SPECIAL = {("Non-translation!", "Major"): 250, ("Fluency/Punctuation", "Minor"): 1}
CHECK = "HOTW-test"  # the severity of a row that tested the rater's attention


def build(raters: bool = False) -> Built:
    """Each segment's translations, rated by the errors in them: minus the weighted errors, the mean of three raters.

    `prompt_id` is the document, so that splits hold out documents; `item_id` is the segment, and only translations of
    one segment are compared; `chosen_id` and `rejected_id` are the systems. The Chinese source is no part of the
    prompt, which is the same everywhere.

    Args:
        raters: each rater's own ratings instead, who is then `user_id`.
    """
    if not isinstance(raters, bool):
        raise InputError(f"raters must be true or false, got {raters!r}")
    wide, checks = ratings(fetch(FILE))
    if not raters:
        keys = [c for c in wide.columns if c not in (*ATTRIBUTES, "user_id")]
        wide = wide.groupby(keys, sort=False, as_index=False)[list(ATTRIBUTES)].sum()
    compared = wide["item_id"] + "\x1f" + (wide["user_id"] if raters else "")
    skipped = {
        "attention checks": checks,
        "identical texts rated differently": duplicate_conflicts(wide.assign(prompt_id=compared), list(ATTRIBUTES)),
    }
    wide[list(ATTRIBUTES)] = 0 - wide[list(ATTRIBUTES)] / (10 if raters else 30)
    return from_ratings(wide, "wmt-mqm", CRITERIA["wmt-mqm"], skipped, list(ATTRIBUTES))


def ratings(path: Path) -> tuple[pd.DataFrame, int]:
    """Return each rater's weighted errors in each translation, and the number of attention checks left out.

    Args:
        path: upstream's archive.

    Returns:
        A table with prompt_id (document), item_id (segment), response_id (system), user_id (rater), prompt, response
        and the errors by ATTRIBUTES in tenths of a point, int.

    Raises:
        InputError: the file or a row of it cannot be used, or a segment has not three raters' judgement of each of its
            translations; names file, row and cause. Row 1 is the header.
    """
    errors: dict[tuple[str, str, str], Counter[str]] = {}
    texts: dict[tuple[str, str], str] = {}
    documents: dict[str, str] = {}
    checks = 0
    for number, fields in enumerate(_lines(path), start=2):
        where = f"{path} row {number}"
        if len(fields) != len(COLUMNS):
            raise _bad(where, f"it has not {len(COLUMNS) + 1} columns")
        row = dict(zip(COLUMNS, fields, strict=True))
        category, severity = row["category"], row["severity"]
        if severity == CHECK:
            checks += 1
            continue
        kind = category.split("/")[0]
        if kind not in KINDS or severity not in TENTHS:
            raise _bad(where, f"no weight for category {category!r} of severity {severity!r}")
        segment, system, rater = row["globalSegId"], row["system"], row["rater"]
        text = re.sub("</?v>", "", row["target"]).strip()
        if not all((segment, system, rater, row["doc"], text)):
            raise _bad(where, "doc, globalSegId, system, rater or target is empty")
        if documents.setdefault(segment, row["doc"]) != row["doc"]:
            raise _bad(where, f"segment {segment} is one of another document above")
        if texts.setdefault((segment, system), text) != text:
            raise _bad(where, f"the target differs from that of {system} above")
        found = errors.setdefault((segment, system, rater), Counter())
        if KINDS[kind]:
            found[KINDS[kind]] += SPECIAL.get((category, severity), TENTHS[severity])
    rows = [
        {
            "prompt_id": documents[segment],
            "item_id": segment,
            "response_id": system,
            "user_id": rater,
            "prompt": PROMPT,
            "response": texts[segment, system],
            **{name: found[name] for name in ATTRIBUTES},
        }
        for (segment, system, rater), found in errors.items()
    ]
    if not rows:
        raise _bad(str(path), "no errors in it")
    table = pd.DataFrame(rows)
    for segment, part in table.groupby("item_id", sort=False):
        if part["user_id"].nunique() != 3 or len(part) != 3 * part["response_id"].nunique():
            raise _bad(str(path), f"segment {segment} has not three raters for each of its translations")
    return table, checks


def _lines(path: Path) -> Iterator[list[str]]:
    """Yield the fields in COLUMNS of each line of the archive's one table behind its header."""
    try:
        with tarfile.open(path) as archive:
            name = next(n for n in archive.getnames() if n.endswith(".tsv"))
            text = archive.extractfile(name).read().decode()
    except (tarfile.TarError, OSError, EOFError, StopIteration, UnicodeDecodeError) as error:
        raise _bad(str(path), f"no archive with a .tsv file in it ({type(error).__name__})") from error
    header, *lines = text.removesuffix("\n").split("\n")
    if tuple(header.split("\t")[: len(COLUMNS)]) != COLUMNS:
        raise _bad(f"{path} row 1", f"the columns are not {', '.join(COLUMNS)}, ...")
    for line in lines:
        yield line.split("\t")[:-1]  # the last one is not kept


def _bad(where: str, what: str) -> InputError:
    return InputError(f"{where}: {what}: restore the original file")
