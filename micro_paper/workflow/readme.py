"""The parts of the README and of docs/ that state results, written from committed files: no number is typed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from micro_paper.claims import protocol
from micro_paper.claims.judge import VERDICTS
from micro_paper.digits import interval
from micro_paper.errors import InputError
from micro_paper.files import write_atomic
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
    "armo",
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
    "surface_counts",
)
ORIGIN = {"bundled": "constructed", "open": "people"}  # who judged
COMPARE = ("C19", "C21")  # of tables 2 and 3, that `micro` exceeds rows: a data set that may decide one is counted


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
        ("It exceeds one that has converged", "single_exact", "holds"),
        ("It exceeds itself with random heads", "random_heads", "holds"),
        ("It exceeds itself with principal directions as heads", "pca_heads", "holds"),
        ("It exceeds a mixture with fixed weights", "static_learned", "holds"),
        ("A converged few-shot classifier of the criterion exceeds it", "criterion_fewshot_exact", "does not"),
        ("With every open choice made within the same labels, MiCRo+ exceeds it", "micro_plus", "does not"),
    ]
    counts = deciding_rows(root)
    lines = [
        f"- {text} {counted(part, verdict)}."
        for text, method, verdict in said
        if len(part := counts[counts.method == method])
    ]
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


def deciding_rows(root: Path | None = None) -> pd.DataFrame:
    """Return the committed rows of data sets that may decide COMPARE; those of companions and controls do not count."""
    rows, known = committed_rows(root), protocol.read()
    decides = [any(known.standing(claim, name).may == protocol.DECIDES for claim in COMPARE) for name in rows.dataset]
    return rows.loc[decides]


def diagnosis_block(root: Path | None = None) -> str:
    """Return where accuracy is lost in the constructed world, as Markdown; "" where that is not published."""
    folder = (root or project_root()) / "results" / "bundled"
    tables = [folder / f"table_00_{slug}.csv" for slug in ("attribution", "readability")]
    return lost(*map(pd.read_csv, tables)) if all(path.is_file() for path in tables) else ""


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


def measures_block(root: Path | None = None) -> str:
    """Return what each claim is measured by, as a Markdown table."""
    heads = ("claim", "rule", "compared row", "contrast", "against", "controls", "must be read", "margin")
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for m in protocol.read().measures.values():
        read = f"`{m.probe}` above {_names(m.above)}" if m.probe else ""
        read += f" on {', '.join(m.attributes)}" if m.attributes else ""
        margin = m.margin + (f"; at least {m.min_runs} runs" if m.min_runs > 1 else "")
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
