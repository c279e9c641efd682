"""Two folders of result tables, compared cell by cell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from micro_paper.errors import InputError

TOLERANCE = 1e-9  # of a numeric cell, relative to 1 or to its size


@dataclass
class Comparison:
    """Two folders of tables, cell by cell.

    Attributes:
        cells: numeric cells compared.
        largest: largest difference of two numbers, relative to 1 or to their size.
        problems: one sentence each: tables of one folder alone, other rows, columns or texts, numbers too far apart.
    """

    cells: int = 0
    largest: float = 0.0
    problems: list[str] = field(default_factory=list)


def compare(before: Path, after: Path, names: Iterable[str] | None = None) -> Comparison:
    """Compare the tables (CSV and Parquet) of two folders; rows and columns may stand in any order.

    Rows are matched by their texts.

    Args:
        names: files to compare; None = those of either folder.

    Raises:
        InputError: a folder has no tables, or one cannot be read.
    """
    found = Comparison()
    tables = {
        folder: {p.name for p in folder.glob("*") if p.suffix in (".csv", ".parquet")} for folder in (before, after)
    }
    for folder, own in tables.items():
        if not own:
            raise InputError(f"{folder} holds no tables: give a folder of results")
    wanted = set(names) if names is not None else tables[before] | tables[after]
    for name in sorted(wanted):
        if absent := [str(folder) for folder, own in tables.items() if name not in own]:
            found.problems.append(f"{name} is not in {' nor in '.join(absent)}")
        else:
            _compare_tables(name, _read(before / name), _read(after / name), found)
    return found


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path).astype(str)
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}; restore it, or make it again") from None


def _compare_tables(name: str, before: pd.DataFrame, after: pd.DataFrame, found: Comparison) -> None:
    if set(before.columns) != set(after.columns) or len(before) != len(after):
        found.problems.append(
            f"{name}: {before.shape} rows and columns became {after.shape}, or columns have other names"
        )
        return
    before, after = _matched(before, after[list(before.columns)])
    for column in before.columns:
        old, new = (pd.to_numeric(frame[column], errors="coerce") for frame in (before, after))
        numbers = np.isfinite(old.to_numpy(float)) & np.isfinite(new.to_numpy(float))
        texts = ~numbers & (before[column] != after[column]).to_numpy()
        if texts.any():
            row = int(texts.argmax())
            found.problems.append(
                f"{name}, {column}, row {row + 1}: {before[column][row]!r} became {after[column][row]!r} "
                f"({int(texts.sum())} such rows)"
            )
        if not numbers.any():
            continue
        gap = ((old - new).abs() / np.maximum(1, old.abs())).to_numpy()[numbers]
        found.cells += len(gap)
        found.largest = max(found.largest, float(gap.max()))
        if gap.max() > TOLERANCE:
            row = int(np.flatnonzero(numbers)[gap.argmax()])
            found.problems.append(
                f"{name}, {column}, row {row + 1}: {before[column][row]} became {after[column][row]} "
                f"({int((gap > TOLERANCE).sum())} such rows)"
            )


def _matched(before: pd.DataFrame, after: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables as they are where their texts agree row by row, else both sorted by their texts."""
    texts = [c for c in before if pd.concat([before[c], after[c]]).pipe(pd.to_numeric, errors="coerce").isna().any()]
    if before[texts].equals(after[texts]):
        return before, after
    return tuple(frame.sort_values(texts, kind="stable", ignore_index=True) for frame in (before, after))
