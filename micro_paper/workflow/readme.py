"""The parts of the README and of docs/ that state results, written from committed files: no number is typed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from micro_paper.claims import protocol
from micro_paper.claims.judge import VERDICTS
from micro_paper.digits import interval, shown
from micro_paper.errors import InputError
from micro_paper.experiments.attribution import LAST, ONE_HOT, TRUE
from micro_paper.files import write_atomic
from micro_paper.metrics import MACRO
from micro_paper.paper import values as paper_values
from micro_paper.paths import project_root
from micro_paper.report.rows import codes, glossary, sees
from micro_paper.report.sentences import counted, lost, persons
from micro_paper.workflow import claims_files, ledger

TABLE = "table_02c_beside_paper.csv"
NOTHING = "No profile is published yet: `make reproduce PROFILE=open` makes one."
TEXTS = ("dataset", "method", "supervision", "verdict")
NUMBERS = ("ours", "low", "high", "micro_minus_row", "minus_low", "minus_high")
# Rows of the first table of a data set; the others stand folded below it.
FIRST = (
    "micro_plus",
    "micro_plus_full",
    "micro_criterion",
    "micro_stage1",
    "single",
    "single_exact",
    "static_uniform",
    "static_learned",
    "shared_base",
    "shared_base_best",
    "armo",
    "random_heads",
    "pca_heads",
    "criterion_fewshot",
    "criterion_fewshot_exact",
    "oracle_attribute_exact",
    "surface_counts",
    "length",
)
# Rows of the README's table.
FRONT = (
    "length",
    "surface_counts",
    "single",
    "single_exact",
    "static_learned",
    "micro",
    "random_heads",
    "pca_heads",
    "criterion_fewshot_exact",
    "micro_plus",
    "micro_plus_full",
    "oracle_attribute_exact",
)
# What `micro` is claimed to exceed, and what stands beside it as a reference, in the words of the README.
EXCEEDED = {
    "single": "one Bradley-Terry reward",
    "single_exact": "one that has converged",
    "random_heads": "itself with random heads",
    "pca_heads": "itself with principal directions as heads",
    "static_learned": "a mixture with fixed weights",
}
REFERENCES = {
    "criterion_fewshot_exact": "A converged few-shot classifier of the criterion",
    "micro_plus": "MiCRo+ with the same labels",
}
ORIGIN = {"bundled": "constructed", "open": "people"}  # who judged
COMPARED = ("C19", "C21")  # the claims on accuracy in tables 2 and 3; a data set that may decide one is counted
LOST = (  # columns that the diagnosis reads
    ("dataset", "heads", "reading", "attribute", "value", "low", "high"),
    ("dataset", "reading", "value", "low", "high", "chance"),
)
BESIDE = {protocol.COMPANION: " (companion)", protocol.CONTROLS: " (control)", protocol.CANNOT: " (cannot decide)"}


def committed_rows(root: Path | None = None) -> pd.DataFrame:
    """Return what published profiles compare with `micro`, as `paper.beside` makes it, with the profile; or no row."""
    paths = sorted(((root or project_root()) / "results").glob(f"[!.]*/{TABLE}"))
    tables = [_beside(path).assign(profile=path.parent.name) for path in paths]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["profile", *TEXTS, *NUMBERS])


def standing(dataset: str) -> str:
    """Return the most that a data set may say of how accuracies compare with `micro`, one of `protocol.MAY`."""
    return min((protocol.read().standing(claim, dataset).may for claim in COMPARED), key=protocol.MAY.index)


def deciding_rows(root: Path | None = None) -> pd.DataFrame:
    """Return `committed_rows` of the data sets that may decide; companions and controls are left out."""
    rows = committed_rows(root)
    return rows[rows.dataset.isin([name for name in rows.dataset.unique() if standing(name) == protocol.DECIDES])]


def front_table(root: Path | None = None) -> str:
    """Return accuracies as one Markdown table, a row a method of FRONT and a column a data set that may decide."""
    rows = deciding_rows(root)
    if rows.empty:
        return NOTHING
    columns = list(rows[["profile", "dataset"]].drop_duplicates().itertuples(index=False, name=None))
    heads = [f"{dataset} ({ORIGIN.get(profile, profile)})" for profile, dataset in columns]
    parts = [f"| accuracy on unseen prompts | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for method in FRONT:
        part = rows[rows.method == method].set_index(["profile", "dataset"])[["ours", "low", "high"]]
        if len(part):
            words = glossary()[method].words
            name = f"**{words}**" if method == "micro" else words
            cells = [interval(*part.loc[column]) if column in part.index else "" for column in columns]
            parts.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(parts)


def front_block(root: Path | None = None) -> str:
    """Return the README's answer as Markdown: accuracies where data sets may decide, and what they say."""
    root = root or project_root()
    rows = deciding_rows(root)
    if rows.empty:
        return NOTHING
    lines = [*_comparisons(rows), *_beside_them(committed_rows(root))]
    claims = [
        f"{(table := claims_files.read_committed(profile, root))['verdict'].eq('holds').sum()} hold and "
        f"{table['verdict'].eq('does not').sum()} do not in `{profile}`"
        for profile in rows.profile.unique()
        if (root / "results" / profile / "claims.csv").is_file()
    ]
    if claims:
        lines.append(
            f"- Of the paper's {len(paper_values.claims())} claims {', '.join(claims)}; the rest cannot be told."
        )
    return "\n".join([front_table(root), "", *lines, *people_lines(root)])


def _comparisons(rows: pd.DataFrame) -> list[str]:
    """Return on how many data sets `micro` exceeds rows and references exceed it, a line each; rows may be absent."""
    of = dict(list(rows.groupby("method")))
    lines = []
    for method, text in EXCEEDED.items():
        if method in of:
            below = of[method].dataset[of[method].verdict == "does not"]
            rest = f", and falls below it on {', '.join(below)}" if len(below) else ""
            lines.append(f"- MiCRo exceeds {text} {counted(of[method], 'holds')}{rest}.")
    if {"single", "single_exact"} <= set(of):
        above = [set(of[name].dataset[of[name].verdict == "holds"]) for name in ("single", "single_exact")]
        both = len(above[0] & above[1])
        lines.append(f"- It exceeds both single rewards on {both}; above the first alone may be a matter of steps.")
    return lines + [
        f"- {text} exceeds MiCRo {counted(of[method], 'does not')}."
        for method, text in REFERENCES.items()
        if method in of
    ]


def _beside_them(rows: pd.DataFrame) -> list[str]:
    """Return a line that names the data sets that are shown and not counted; none where all count."""
    named = [name + role for name in rows.dataset.unique() if (role := BESIDE.get(standing(name), ""))]
    return [f"- Not counted: {', '.join(named)}."] if named else []


def diagnosis_block(root: Path | None = None) -> str:
    """Return where accuracy is lost in the constructed world, as Markdown; "" where that is not published.

    Raises:
        InputError: a table lacks a column or a cell that is told.
    """
    folder = (root or project_root()) / "results" / "bundled"
    paths = [folder / f"table_00_{slug}.csv" for slug in ("attribution", "readability")]
    if not all(path.is_file() for path in paths):
        return ""
    try:
        attribution, readability = (pd.read_csv(path)[list(columns)] for path, columns in zip(paths, LOST, strict=True))
        return "\n".join([lost(attribution, readability), *_losses(attribution)])
    except (OSError, ValueError, LookupError) as error:
        told = f"{paths[0].name} and {paths[1].name} do not tell where accuracy is lost ({error})"
        raise InputError(f"{folder}: {told}; publish profile bundled again") from None


def _losses(attribution: pd.DataFrame) -> list[str]:
    """Return what learned heads lose against the true levels, and the last token against the criterion itself."""
    lines = []
    for dataset, part in attribution[attribution.attribute == MACRO].groupby("dataset", sort=False):
        value = part.set_index(["heads", "reading"])["value"]
        heads = [shown(value[TRUE, read] - value["learned", read], "+.3f") for read in (LAST, ONE_HOT)]
        read = [shown(value[kind, ONE_HOT] - value[kind, LAST], "+.3f") for kind in ("learned", TRUE)]
        lines.append(
            f"- So on {dataset} true levels in place of learned heads bring {heads[0]} at the paper's reading and "
            f"{heads[1]} with the criterion known; the criterion known in place of the last token brings {read[0]} "
            f"with learned heads and {read[1]} with true levels."
        )
    return lines


def people_lines(root: Path | None = None) -> list[str]:
    """Return what a person's own labels bring at most, in the profiles whose persons are people, a line each."""
    lines = []
    for folder in sorted(((root or project_root()) / "results").glob("[!.]*")):
        gains = folder / "table_00_people_gains.csv"
        if ORIGIN.get(folder.name) == "people" and gains.is_file():
            lines.append(persons(pd.read_csv(gains)).splitlines()[-1])  # with the most labels
    return lines


def results_block(root: Path | None = None) -> str:
    """Return the results of every published profile as Markdown: accuracy, paired difference and verdict a row."""
    root = root or project_root()
    parts = []
    for path in sorted((root / "results").glob(f"[!.]*/{TABLE}")):
        profile = path.parent.name
        frame = _beside(path)
        for dataset, rows in frame.groupby("dataset", sort=False):
            micro = rows[rows.method == "micro"].iloc[0]
            others = rows[rows.method != "micro"]
            counts = others.verdict.value_counts()
            said = ", ".join(f"{counts.get(v, 0)} {v}" for v in ("holds", "does not", "cannot tell"))
            first = others.method.isin(FIRST)
            role = BESIDE.get(standing(dataset), "")
            parts += [
                f"**{profile}, {dataset}**{role}: `micro` {interval(micro.ours, micro.low, micro.high)}. "
                f'"MiCRo exceeds this row": {said}.',
                _rows(others[first]),
            ]
            if not first.all():
                parts += ["<details><summary>Further rows</summary>", _rows(others[~first]), "</details>"]
    return "\n\n".join(parts) or NOTHING


def _beside(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, dtype=dict.fromkeys(TEXTS, str)).astype(dict.fromkeys(NUMBERS, float))
        if absent := set(TEXTS) - set(frame):
            raise ValueError(f"it has no column {min(absent)}")
        if lacking := set(frame.dataset) - set(frame.dataset[frame.method == "micro"]):
            raise ValueError(f"data set {min(lacking, key=str)} has no row micro")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: {error}; restore it, or publish profile {path.parent.name} again") from None
    return frame


def _rows(rows: pd.DataFrame) -> str:
    lines = ["| row | accuracy | micro less row | verdict | sees |", "|---|---|---|---|---|"]
    for row in rows.itertuples():
        lines.append(
            f"| `{row.method}` | {interval(row.ours, row.low, row.high)} "
            f"| {interval(row.micro_minus_row, row.minus_low, row.minus_high, '+.3f')} "
            f"| {row.verdict} | {', '.join(sees(row.supervision))} |"
        )
    return "\n".join(lines)


def rows_block(root: Path | None = None) -> str:
    """Return every row of tables as Markdown: what it is called, does and, in the published tables, sees."""
    root = root or project_root()
    seen: dict[str, dict[str, None]] = {}
    for path in sorted((root / "results").glob("[!.]*/table_*.csv")):
        frame = pd.read_csv(path, dtype=str)
        if {"method", "supervision"} <= set(frame):
            for row in frame[["method", "supervision"]].drop_duplicates().itertuples():
                seen.setdefault(row.method, {})[", ".join(sees(row.supervision))] = None
    lines = ["| row | in figures | in words | sees |", "|---|---|---|---|"]
    for row in glossary().values():
        sight = " or ".join(seen.get(row.name, ()))
        lines.append(f"| `{row.name}` | {row.label} | **{row.words}**. {row.sentence} | {sight} |")
    legend = "; ".join(f"`{code}` {text}" for code, text in codes().items())
    return "\n".join([*lines, "", f"{legend}."])


def claims_block(root: Path | None = None) -> str:
    """Return how many of the paper's claims hold in each published profile, and the verdict on each, as Markdown."""
    root = root or project_root()
    folders = sorted(path.parent.name for path in (root / "results").glob("[!.]*/claims.csv"))
    if not folders:
        return "No profile has judged the claims yet: `make reproduce PROFILE=open` does."
    judged = {profile: claims_files.read_committed(profile, root) for profile in folders}
    lines = [f"| profile | judged on | {' | '.join(VERDICTS)} |", "|---|---|---|---|---|"]
    for profile, table in judged.items():
        for row in claims_files.counts(table).to_dict("records"):
            numbers = " | ".join(str(row[verdict]) for verdict in VERDICTS)
            lines.append(f"| {profile} | `{row['method']}` | {numbers} |")
    parts = ["\n".join(lines)]
    if "bundled" in judged:
        parts.append(
            "`bundled` is constructed: its text and labels were composed for this package, so what holds there "
            "holds in a world made to have the structure that the paper assumes, and says nothing about people."
        )
    heads = [f"{profile}, `{method}`" for profile in judged for method in claims_files.JUDGED]
    every = [f"| claim | what it says | {' | '.join(heads)} |", "|---|---|" + "---|" * len(heads)]
    texts = paper_values.claims()
    for i, row in enumerate(texts.itertuples()):
        cells = [table.at[i, column] for table in judged.values() for column in claims_files.JUDGED.values()]
        every.append(f"| {row.id} | {row.claim.replace('|', chr(92) + '|')} | {' | '.join(cells)} |")
    summary = f"<details><summary>The verdict on each of the {len(texts)} claims</summary>"
    return "\n\n".join([*parts, summary, "\n".join(every), "</details>"])


def measures_block(root: Path | None = None) -> str:
    """Return what each claim is measured by, as a Markdown table."""
    heads = ("claim", "rule", "compared row", "contrast", "against", "controls", "must be read", "margin")
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for m in protocol.read().measures.values():
        read = f"`{m.probe}` above {_names(m.above)}" if m.probe else ""
        read += f" on {', '.join(m.attributes)}" if m.attributes else ""
        margin = m.margin + ("; flat within " + f"{m.flat:g}".lstrip("0") if m.rule == "trend" else "")
        margin += f"; at least {m.min_runs} runs" if m.min_runs > 1 else ""
        contrast = m.contrast + (f"; {m.note}" if m.note else "")
        cells = (m.claim, m.rule, _names(m.rows), contrast, _names(m.references), _names(m.controls), read, margin)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def revised_block(root: Path | None = None) -> str:
    """Return which rules were revised after a first evaluation, and why, as a Markdown list."""
    measures = protocol.read().measures.values()
    return "\n".join(f"- {m.claim}: {m.revised}." for m in measures if m.revised)


def worlds_block(root: Path | None = None) -> str:
    """Return which data set may decide which claims, with the reason, as a Markdown table."""
    lines = ["| data set | standing | claims | reason |", "|---|---|---|---|"]
    together: dict[tuple[str, protocol.Standing], list[str]] = {}
    for (claim, dataset), standing in protocol.read().standings.items():
        together.setdefault((dataset, standing), []).append(claim)
    for (dataset, standing), claims in together.items():
        reason = standing.reason + (f" ({_names(standing.controls)})" if standing.controls else "")
        lines.append(f"| {dataset} | {standing.may} | {' '.join(claims)} | {reason} |")
    return "\n".join(lines)


def _names(rows: tuple[str, ...]) -> str:
    return ", ".join(f"`{row}`" for row in rows)


BLOCKS: dict[str, Callable[[Path | None], str]] = {
    "front": front_block,
    "diagnosis": diagnosis_block,
    "results": results_block,
    "claims": claims_block,
    "ledger": ledger.block,
    "rows": rows_block,
    "measures": measures_block,
    "revised": revised_block,
    "worlds": worlds_block,
}
PAGES = {
    "README.md": ("front", "diagnosis"),
    "docs/RESULTS.md": ("results", "claims"),
    "docs/DEPARTURES.md": ("ledger",),
    "docs/METHODS.md": ("rows",),
    "docs/CLAIMS.md": ("measures", "revised", "worlds"),
}


def markers(name: str) -> tuple[str, str]:
    """Return the lines before and behind the block of that name."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def with_block(text: str, name: str, block: str, page: str) -> str:
    """Return the `text` of `page` with `block` between the markers of `name`.

    Raises:
        InputError: the markers are not there, once each and in order.
    """
    first, last = markers(name)
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end or first in rest or last in after:
        raise InputError(f"{page} needs the lines {first} and {last}, once each and in this order")
    return f"{before}{first}\n{block}\n{last}{after}"


def refresh(root: Path | None = None) -> None:
    """Write every block into its page."""
    root = root or project_root()
    for page, names in PAGES.items():
        text = (root / page).read_text(encoding="utf-8")
        for name in names:
            text = with_block(text, name, BLOCKS[name](root), page)
        write_atomic(root / page, text.encode())
