"""No row of a table is tuned on test pairs: spoiled test pairs change no fit and no prediction of other pairs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from told import with_criteria

from micro_paper.data import synthetic
from micro_paper.experiments import evaluation, runs
from micro_paper.experiments.worlds import World, context_budget
from micro_paper.methods import METHODS
from micro_paper.methods.micro_plus import MicroPlus
from micro_paper.methods.scaling import Scaler
from micro_paper.methods.static import Single, StaticLearned
from micro_paper.methods.two_stage import TwoStage
from micro_paper.pairs import TABLES, Pairs

SPLITS = ("train", "validation", "test")
BASE = {"heads": 3, "epochs": 3, "dtype": "float64", "learning_rate": 1e-2}
# A world of binary labels, and one whose responses are rated by known users; the second leaves more open to choose.
KINDS = {"labels": BASE, "rated": BASE | {"tau": 0.0, "context_scaling": "own", "head_scale": "unit"}}
# Its router's input is permuted over the pairs predicted together: a control whose predictions depend on their places.
BY_PLACE = ("shuffled_router",)
SAME = 1e-12


def share_tables(parts: Sequence[Pairs]) -> list[Pairs]:
    """Return the parts pointing into common tables, as the splits of a text world do; lengths are drawn."""
    pointers = {"responses": ("chosen", "rejected"), "prompts": ("prompt",), "contexts": ("context",)}
    pointers |= {"criteria": ("criterion",)}
    tables = {name: torch.cat([getattr(p, name) for p in parts]) for name in pointers}
    random = torch.Generator().manual_seed(1)
    tables["lengths"] = torch.rand(len(tables["responses"]), generator=random, dtype=torch.float64)
    shared, start = [], dict.fromkeys(pointers, 0)
    for part in parts:
        moved = {name: getattr(part, name) + start[table] for table, own in pointers.items() for name in own}
        start = {table: start[table] + len(getattr(part, table)) for table in pointers}
        shared.append(replace(part, **tables, **moved))
    return shared


def with_ratings_and_users(part: Pairs) -> Pairs:
    """Return the pairs with ratings by the first features, and five users."""
    noise = torch.rand(len(part.responses), 2, generator=torch.Generator().manual_seed(2))
    user = np.array([f"user {i % 5}" for i in range(len(part))])
    ratings = (part.responses[:, :2] + noise).round()
    return replace(part, ratings=ratings, rating_names=("first", "second"), user_id=user)


@pytest.fixture(scope="module")
def worlds() -> dict[str, tuple[World, Pairs]]:
    """For each kind a world, and further pairs that belong to none of its splits."""
    drawn = synthetic.draw_world("synthetic-audience", train=120, validation=40, test=40)
    further = synthetic.draw_world("synthetic-audience", fold=1, train=4, validation=4, test=40)["test"]
    parts = share_tables([with_criteria(part) for part in (*(drawn[split].pairs for split in SPLITS), further.pairs)])
    rated = [with_ratings_and_users(part) for part in parts]
    return {
        kind: (World("w", 0, *own[:3], fingerprint=""), own[3]) for kind, own in (("labels", parts), ("rated", rated))
    }


# Ways to spoil the test pairs


def some(pairs: Pairs) -> np.ndarray:
    return np.random.default_rng(0).random(len(pairs)) < 0.5


def flip_some(pairs: Pairs) -> Pairs:
    flipped, which = pairs.flip(), torch.from_numpy(some(pairs))
    sides = {name: torch.where(which, getattr(flipped, name), getattr(pairs, name)) for name in ("chosen", "rejected")}
    return replace(pairs, **sides)


def turn_round(pairs: Pairs) -> Pairs:
    return pairs.select(np.arange(len(pairs))[::-1])


def exchange_attributes(pairs: Pairs) -> Pairs:
    return replace(pairs, attribute=np.roll(pairs.attribute, len(pairs) // 3))


def exchange_features(pairs: Pairs) -> Pairs:
    """Give the rows of the test texts, in the tables that all splits share, each other's values, 9 times as large."""
    rows = {
        "responses": torch.cat([pairs.chosen, pairs.rejected]).unique(),
        "prompts": pairs.prompt.unique(),
        "contexts": pairs.context.unique(),
        "criteria": pairs.criterion.unique(),
    }
    rows["lengths"] = rows["ratings"] = rows["responses"]
    tables = {}
    for name in TABLES:
        if (table := getattr(pairs, name)) is not None:
            tables[name] = table.clone()
            tables[name][rows[name]] = 9 * table[rows[name].flip(0)] + 1
    return replace(pairs, **tables)


# name -> how the test pairs are spoiled, and what their predictions must then be (None: anything)
SPOILED: dict[str, tuple[Callable[[Pairs], Pairs], Callable | None]] = {
    "all labels": (Pairs.flip, lambda p, test: 1 - p),
    "some labels": (flip_some, lambda p, test: np.where(some(test), 1 - p, p)),
    "order": (turn_round, lambda p, test: p[::-1]),
    "fewer pairs": (lambda test: test.select(slice(0, 60)), lambda p, test: p[:60]),
    "attributes": (exchange_attributes, None),
    "features": (exchange_features, None),
}


@dataclass
class Seen:
    """What one evaluation of a method gave: predictions of test and further pairs, head accuracies on validation."""

    test: np.ndarray
    further: np.ndarray
    validation: dict[str, np.ndarray] = field(default_factory=dict)


def observe(name: str, world: World, further: Pairs, settings: dict) -> Seen:
    """Evaluate one row as the tables do, then let the same fitted object predict further pairs."""
    made, factory = [], METHODS[name]
    kept = (name,) if hasattr(factory, "head_margins") else ()
    rows = {name: lambda *arguments: made.append(factory(*arguments)) or made[-1]}
    result = evaluation.evaluate([world], rows, settings, seeds=[0], budget=8, keep_heads=kept)
    (method,) = made
    validation = result.heads[name][0].validation if kept else {}
    # Tables that hold other values are other tables: the further pairs point into those of their world.
    tables = {table: getattr(world.test, table) for table in TABLES}
    return Seen(result.probability[name][:, 0], method.predict_proba(replace(further, **tables)), validation)


def peeks(name: str, world: World, further: Pairs, settings: dict) -> list[str]:
    """Return which of the spoiled test sets changed what they may not change; none for an honest row."""
    honest, found = observe(name, world, further, settings), []
    for spoil, (change, expected) in SPOILED.items():
        test = change(world.test)
        splits = {split: getattr(world, split) for split in SPLITS[:2]}
        if spoil == "features":
            tables = {table: getattr(test, table) for table in TABLES}
            splits = {split: replace(pairs, **tables) for split, pairs in splits.items()}
        seen = observe(name, replace(world, test=test, **splits), further, settings)
        same = np.abs(seen.further - honest.further).max() <= SAME
        same = same and all(np.array_equal(seen.validation[a], v) for a, v in honest.validation.items())
        if expected is not None and not (name in BY_PLACE and spoil in ("order", "fewer pairs")):
            same = same and np.abs(seen.test - expected(honest.test, world.test)).max() <= SAME
        if not same:
            found.append(spoil)
    return found


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", METHODS)
def test_no_row_learns_from_test_pairs(name, kind, worlds):
    assert peeks(name, *worlds[kind], KINDS[kind]) == []


@pytest.mark.long
@pytest.mark.parametrize("name", METHODS)
def test_each_row_does_learn_from_training_pairs(name, worlds):
    """The same damage to the training pairs shows: the check above looks at something that can change."""
    world, further = worlds["labels"]
    honest = observe(name, world, further, BASE)
    spoiled = replace(world, train=exchange_features(flip_some(world.train)))
    seen = observe(name, spoiled, further, BASE)
    assert np.abs(seen.further - honest.further).max() > 1e-6


# Rows that cheat, each in its own way: the check must find every one


class Refits(Single):
    """Fits itself on the pairs that it is asked about."""

    def predict_proba(self, pairs):
        return super().fit(pairs, pairs).predict_proba_of(pairs)

    def predict_proba_of(self, pairs):
        return super().predict_proba(pairs)


class TakesTheBestHead(StaticLearned):
    """Answers by the head that agrees best with the labels of the pairs that it is asked about."""

    def predict_proba(self, pairs):
        margins = self.head_margins(pairs)
        best = (margins > 0).mean(axis=0).argmax()
        return 1 / (1 + np.exp(-margins[:, best]))


class TurnsItsSign(Single):
    """Reverses itself where the labels say that it is more often wrong than right."""

    def predict_proba(self, pairs):
        p = super().predict_proba(pairs)
        return p if (p > 0.5).mean() >= 0.5 else 1 - p


class ScalesByAllTexts(Single):
    """Scales the features by the spread over all texts of the table, those of the test pairs among them."""

    def _fit_scalers(self, pairs):
        super()._fit_scalers(pairs)
        self.scalers["responses"] = Scaler.fit(pairs.responses)


class ScalesByItsQuestions(Single):
    """Scales its margins by their spread over the pairs that it is asked about."""

    def predict_proba(self, pairs):
        margins = self.head_margins(pairs)[:, 0]
        return 1 / (1 + np.exp(-margins / np.sqrt((margins**2).mean())))


class Remembers(Single):
    """Honest on the test pairs, and learns their labels for later."""

    def predict_proba(self, pairs):
        p = super().predict_proba(pairs)
        self.fit(pairs, pairs)
        return p


CHEATS = {
    Refits: "all labels",
    TakesTheBestHead: "all labels",
    TurnsItsSign: "all labels",
    ScalesByAllTexts: "features",
    ScalesByItsQuestions: "fewer pairs",
    Remembers: "some labels",
}


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.__name__)
def test_a_row_that_cheats_is_found(cheat, worlds, monkeypatch):
    monkeypatch.setitem(METHODS, "cheat", cheat)
    assert CHEATS[cheat] in peeks("cheat", *worlds["labels"], BASE)


@pytest.mark.parametrize("row", [TwoStage, MicroPlus])
def test_an_evaluation_that_validates_on_test_is_found(row, worlds, monkeypatch):
    """Test pairs in the place of the validation pairs, which choose the epoch (and tau)."""
    monkeypatch.setitem(METHODS, "row", row)
    monkeypatch.setattr(evaluation, "Run", lambda world, seed: runs.Run(replace(world, validation=world.test), seed))
    settings = BASE | {"learning_rate": 1e-3}  # slow enough that honest labels ask for a later epoch
    assert "all labels" in peeks("row", *worlds["labels"], settings)


def test_an_evaluation_that_draws_its_contexts_from_test_is_found(worlds, monkeypatch):
    monkeypatch.setattr(World, "contexts", lambda self, budget, seed: context_budget(self.test, budget, seed))
    assert "some labels" in peeks("micro", *worlds["labels"], BASE)
