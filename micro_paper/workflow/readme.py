"""The parts of the README and of docs/ that state results, written from committed files: no number is typed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from micro_paper.claims.judge import VERDICTS
from micro_paper.digits import interval
from micro_paper.errors import InputError
from micro_paper.files import write_atomic
from micro_paper.paper import values as paper_values
from micro_paper.paths import project_root
from micro_paper.report.rows import codes, glossary, sees
from micro_paper.report.sentences import counted
from micro_paper.workflow import claims_files, ledger

TABLE = "table_02c_beside_paper.csv"
PEOPLE = "table_14g_beyond_noise.csv"
NOTHING = "No profile is published yet: `make reproduce PROFILE=open` makes one."
TEXTS = ("dataset", "method", "supervision", "verdict")
NUMBERS = ("ours", "low", "high", "micro_minus_row", "minus_low", "minus_high")
# Rows of the first table of a data set; the others stand folded below it.
FIRST = (
    "micro_plus",
    "micro_plus_budget",
    "micro_stage1",
    "single",
    "static_uniform",
    "static_learned",
    "shared_base",
    "armo",
    "pca_heads",
    "criterion_fewshot",
    "criterion_fewshot_tuned",
    "oracle_attribute",
    "length",
)
# Rows of the README's table.
FRONT = (
    "length",
    "single",
    "single_tuned",
    "static_learned",
    "micro",
    "random_heads",
    "pca_heads",
    "criterion_fewshot_tuned",
    "micro_plus_budget",
    "micro_plus",
    "oracle_attribute",
)
ORIGIN = {"bundled": "constructed", "open": "people"}  # who judged


def committed_rows(root: Path | None = None) -> pd.DataFrame:
    """Return what published profiles compare with `micro`, as `paper.beside` makes it, with the profile; or no row."""
    paths = sorted(((root or project_root()) / "results").glob(f"[!.]*/{TABLE}"))
    tables = [_beside(path).assign(profile=path.parent.name) for path in paths]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["profile", *TEXTS, *NUMBERS])


def front_table(root: Path | None = None) -> str:
    """Return accuracies as one Markdown table, a row a method of FRONT and a column a data set of every profile."""
    rows = committed_rows(root)
    if rows.empty:
        return NOTHING
    heads = [f"{d} ({ORIGIN.get(p, p)})" for p, d in rows[["profile", "dataset"]].drop_duplicates().to_numpy()]
    parts = [f"| accuracy on unseen prompts | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for method in FRONT:
        part = rows[rows.method == method]
        if len(part) == len(heads):
            words = glossary()[method].words
            name = f"**{words}**" if method == "micro" else words
            parts.append(f"| {name} | {' | '.join(interval(r.ours, r.low, r.high) for r in part.itertuples())} |")
    return "\n".join(parts)


def front_block(root: Path | None = None) -> str:
    """Return the README's answer as Markdown: one table over the data sets of every profile, and what it says."""
    root = root or project_root()
    rows = committed_rows(root)
    if rows.empty:
        return NOTHING
    said = [
        ("MiCRo exceeds one Bradley-Terry reward", "single", "holds"),
        ("It exceeds one whose training was tuned on validation pairs", "single_tuned", "holds"),
        ("It exceeds itself with random heads", "random_heads", "holds"),
        ("It exceeds itself with principal directions as heads", "pca_heads", "holds"),
        ("It exceeds a mixture with fixed weights", "static_learned", "holds"),
        ("A tuned few-shot classifier of the criterion exceeds it", "criterion_fewshot_tuned", "does not"),
        ("With every open choice made on labelled validation pairs, MiCRo+ within the budget exceeds it",
         "micro_plus_budget", "does not"),
    ]  # fmt: skip
    lines = [f"- {text} {counted(rows[rows.method == method], verdict)}." for text, method, verdict in said]
    lines += people_lines(root)
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
    return "\n".join([front_table(root), "", *lines])


def people_lines(root: Path | None = None) -> list[str]:
    """Return what people's own labels gain, a line a published profile that has real people."""
    lines = []
    for path in sorted(((root or project_root()) / "results").glob(f"[!.]*/{PEOPLE}")):
        profile = path.parent.name
        if ORIGIN.get(profile) != "people":
            continue
        table = pd.read_csv(path)
        most = table[(table.people_with == table.people_with.max()) & (table.labels == table.people_with)]
        rows = most[~most.control.astype(bool)]
        best, passed = rows.loc[rows.gain.idxmax()], rows.counts.astype(bool).sum()
        lines.append(
            f"- With {best.labels} labels of one person, {passed} of {len(rows)} rows gain more than noise gives; at "
            f"best {interval(best.gain, best.low, best.high, '+.3f')} ({best.n_people} people)."
        )
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
            parts += [
                f"**{profile}, {dataset}**: `micro` {interval(micro.ours, micro.low, micro.high)}. "
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


BLOCKS: dict[str, Callable[[Path | None], str]] = {
    "front": front_block,
    "results": results_block,
    "claims": claims_block,
    "ledger": ledger.block,
    "rows": rows_block,
}
PAGES = {
    "README.md": ("front",),
    "docs/RESULTS.md": ("results", "claims"),
    "docs/DEPARTURES.md": ("ledger",),
    "docs/METHODS.md": ("rows",),
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
