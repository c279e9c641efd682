"""The three splits of a data set as one, for tests that count its rows."""

from __future__ import annotations

from typing import Any

from datasets import Dataset, concatenate_datasets

from micro_paper import data


def load_all(name: str, **options: Any) -> Dataset:
    """Load all splits of a data set as one, train first; options as for `data.load`."""
    return concatenate_datasets([data.load(name, split, **options) for split in data.SPLITS])
