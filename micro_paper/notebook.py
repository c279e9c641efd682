"""What a notebook starts with: checked parameters, and from them features, folds, settings and the door of its results.

The second code cell of every notebook is `run = start(globals())`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from micro_paper.data.named import likes_of, split_names
from micro_paper.errors import InputError
from micro_paper.experiments.worlds import World, load_folds, names_of
from micro_paper.features.settings import FeatureSettings
from micro_paper.methods.own import OwnMethods, own_methods
from micro_paper.methods.settings import Settings
from micro_paper.workflow.artifacts import Artifacts
from micro_paper.workflow.parameters import Value, check_parameters

Worlds = World | Iterable["Worlds"] | Mapping[Any, "Worlds"]


def start(namespace: MutableMapping[str, Any]) -> Notebook:
    """Check the parameters of a notebook and return what it starts with.

    From here on tables are shown whole, and what takes long says what it does.

    Args:
        namespace: `globals()` of the notebook, right after its parameters.

    Raises:
        InputError: a parameter that the notebook does not declare, or an ill-typed value; names it.
    """
    for option in ("max_rows", "max_columns", "max_colwidth", "width"):
        pd.set_option(f"display.{option}", None)
    log = logging.getLogger("micro_paper")
    log.handlers = [logging.StreamHandler(sys.stdout)]
    log.setLevel(logging.INFO)
    return Notebook(check_parameters(namespace))


class Notebook:
    """The beginning of one notebook.

    Attributes:
        parameters: name -> checked value.
    """

    def __init__(self, parameters: Mapping[str, Value]) -> None:
        self.parameters = dict(parameters)

    @cached_property
    def features(self) -> FeatureSettings | None:
        """How text becomes features; None for synthetic and tabular data alone (backbone none)."""
        return FeatureSettings.from_parameters(self.parameters)

    @property
    def likes(self) -> dict[str, str]:
        """{"helpsteer": data set, "rpr": data set} as the parameters name them, without one that is none."""
        return likes_of(self.parameters)

    @property
    def further(self) -> list[str]:
        """Data sets that tables are made of besides: companions, controls, and what else decides a claim."""
        return [name for name in split_names(self.parameters["further_worlds"]) if name != "none"]

    @cached_property
    def own(self) -> OwnMethods:
        """The reader's own methods, which the parameter `methods` names; where there is none, no row."""
        return own_methods(self.parameters.get("methods", ""))

    @property
    def seeds(self) -> range:
        """`n_seeds` seeds from `seed` on."""
        return range(self.parameters["seed"], self.parameters["seed"] + self.parameters["n_seeds"])

    @property
    def interval(self) -> dict[str, Value]:
        """How intervals are made: seed and number of resamples of a bootstrap, as keywords."""
        return {name: self.parameters[name] for name in ("seed", "n_bootstrap")}

    @property
    def data(self) -> dict[str, Any]:
        """How data sets are read: feature settings, device, size of synthetic ones and of training, as keywords."""
        names = ("device", "synthetic_prompts", "most_train_pairs")
        return {"features": self.features} | {name: self.parameters[name] for name in names if name in self.parameters}

    def folds(self, name: str, **changed: Any) -> list[World]:
        """Return the first `n_folds` rotations of a data set; `changed` overrides a keyword of `data`."""
        return load_folds(name, self.parameters["n_folds"], **self.data | changed)

    def settings(self, like: str) -> Settings:
        """Return the methods' settings on data like HelpSteer2 ("helpsteer") or RPR ("rpr")."""
        return Settings.from_parameters(self.parameters, like)

    @staticmethod
    def say(text: str) -> None:
        """Show Markdown."""
        from IPython.display import Markdown, display

        display(Markdown(text))

    def artifacts(
        self, notebook: str, worlds: Worlds = (), inputs: Mapping[str, str] | None = None, root: Path | None = None
    ) -> Artifacts:
        """Open the door through which tables and figures leave.

        Args:
            notebook: the file's name, such as "05_stage2".
            worlds: all that were read, in lists and dictionaries at will.
            inputs: name -> content hash of what was read besides.
            root: the checkout; found from the working directory if not given.
        """
        inputs = names_of(list(_worlds(worlds))) | self.own.inputs | dict(inputs or {})
        return Artifacts(self.parameters["profile"], notebook, self.parameters, root, inputs)


def _worlds(nested: Worlds) -> Iterator[World]:
    if isinstance(nested, World):
        yield nested
    elif isinstance(nested, Mapping | list | tuple):
        for part in nested.values() if isinstance(nested, Mapping) else nested:
            yield from _worlds(part)
    else:
        raise InputError(f"worlds must be worlds in lists and dictionaries, got {type(nested).__name__}")
