"""Scaled tables are worked out once, for the very pairs that they belong to and no others."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from micro_paper.errors import InputError
from micro_paper.methods import make
from micro_paper.methods.scaling import Scaler
from micro_paper.pairs import Derived

CPU = torch.device("cpu")


@pytest.fixture
def pairs(world):
    return replace(world["train"], derived=Derived())


def test_rows_count_once_however_often_they_are_named(pairs):
    scaler = Scaler.of_responses(pairs)
    used = pairs.responses[torch.cat([pairs.chosen, pairs.rejected]).unique()].double().numpy()
    assert np.allclose(scaler.mean, used.mean(0)) and np.allclose(scaler.scale, used.std(0, ddof=1))
    assert Scaler.of_responses(pairs) is scaler
    assert Scaler.of_responses(pairs.with_tables(responses=pairs.responses.clone())) is not scaler
    few = pairs.select(slice(0, 3))
    assert torch.equal(Scaler.of_prompts(few).mean, Scaler.fit(few.prompts[few.prompt.unique()]).mean)
    off = Scaler.of_responses(pairs, enabled=False)
    assert (off.mean == 0).all() and (off.scale == 1).all()


def test_differences_are_gathered_once_a_table(pairs, world):
    expected = pairs.responses[pairs.chosen] - pairs.responses[pairs.rejected]
    assert torch.equal(pairs.difference, expected) and pairs.difference is pairs.difference
    assert torch.equal(pairs.flip().difference, -expected)
    assert torch.equal(pairs.select(slice(3, 9)).difference, expected[3:9])
    assert torch.equal(pairs.with_tables(responses=2 * pairs.responses).difference, 2 * expected)
    rows = enumerate(("single", "micro"))
    one, other = (make(name, {"heads": 2}, seed).fit(pairs, world["validation"]) for seed, name in rows)
    assert one._scaled(pairs).difference is other._scaled(pairs).difference
    few = one._scaled(pairs.select(slice(3, 9)))
    assert torch.equal(few.difference, one._scaled(pairs).difference[3:9])
    double = make("single", {"dtype": "float64"}).fit(pairs, world["validation"])._scaled(pairs)
    assert double.difference.dtype == torch.float64 and one._scaled(pairs).difference.dtype == torch.float32
    exchanged = replace(pairs, prompt=pairs.prompt.flip(0))  # the same tables, other rows
    assert torch.equal(other._scaled(exchanged).prompt, exchanged.prompt)


def test_a_whole_table_is_scaled_once_for_each_precision(pairs):
    scaler = Scaler.of_responses(pairs)
    first = scaler.whole(pairs, "responses", torch.float32, CPU)
    assert scaler.whole(pairs.select(slice(0, 4)), "responses", torch.float32, CPU) is first  # the same table
    assert torch.equal(first, scaler(pairs.responses, torch.float32, CPU))
    assert scaler.whole(pairs, "responses", torch.float64, CPU).dtype == torch.float64
    other = Scaler.fit(pairs.responses)
    assert other.whole(pairs, "responses", torch.float32, CPU) is not first
    broken = pairs.responses.clone()
    broken[0, 0] = torch.inf
    with pytest.raises(InputError, match="features of the responses hold a non-finite value"):
        scaler.whole(replace(pairs, responses=broken), "responses", torch.float32, CPU)


def test_a_result_counts_for_its_own_sources_alone():
    made, derived = [], Derived()

    def get(*sources):
        return derived.get("key", sources, lambda: made.append(1) or len(made))

    a, b = torch.zeros(1), torch.zeros(1)  # equal, but two
    assert [get(a), get(a), get(b), get(a, b), get(a)] == [1, 1, 2, 3, 4]
    derived.clear()
    assert get(a) == 5


@pytest.mark.parametrize("enabled", [True, False])
def test_a_column_without_spread_counts_nothing_wherever_it_moves(enabled):
    table = torch.tensor([[1.0, 2.0, 0.1, 7.0], [1.0, 4.0, 0.1, 7.0 + 1e-9]], dtype=torch.float64)
    scaler = Scaler.fit(table, enabled)
    there = scaler(torch.tensor([[99.0, 4.0, -1e30, 8.0]]), torch.float64, CPU)
    assert there.tolist() == [[0, pytest.approx(0.5**0.5 if enabled else 4.0), 0, 0]]
    assert (Scaler.fit(table[:1], enabled)(table, torch.float64, CPU) == 0).all()  # one text has no spread


@pytest.mark.parametrize("size", [1e-310, 1e-200, 1e-3, 1e160, 1e300])
def test_features_of_any_size_have_unit_spread(size):
    values = torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64)
    scaled = Scaler.fit(values * size)(values * size, torch.float64, CPU)
    assert torch.allclose(scaled, Scaler.fit(values)(values, torch.float64, CPU), rtol=1e-10)


@pytest.mark.parametrize(
    "name", ["micro", "single", "pca_heads", "random_heads", "shared_base_mlp", "hyre", "lore", "armo"]
)
@pytest.mark.parametrize("table", ["responses", "prompts"])
def test_no_method_reads_what_moves_at_test_alone(world, name, table):
    def with_column(pairs, column):
        names = [table] if table == "responses" else ["prompts", "contexts"]
        return pairs.with_tables(**{n: torch.cat([t := pairs.table(n), column(len(t)).to(t)], dim=1) for n in names})

    def constant(n):
        return torch.full((n, 2), 7.0)

    def moving(n):
        return 10 * torch.randn(n, 2, generator=torch.Generator().manual_seed(0))

    train, validation = (with_column(world[split], constant) for split in ("train", "validation"))
    method = make(name, {"heads": 4, "tau": 1.0, "dtype": "float64"}).fit(train, validation).adapt(train)
    calm, moved = (method.predict_proba(with_column(world["test"], column)) for column in (constant, moving))
    assert (calm == moved).all() and calm.std() > 0


def test_stage_2_reads_what_moves_in_contexts_alone(world):
    """Such as one-hot contexts, which are zero in every prompt: only a router that saw them move reads them."""
    told = {}
    for split, pairs in world.items():
        is_expert = torch.zeros(len(pairs.contexts), 1)
        is_expert[pairs.context[torch.from_numpy(pairs.attribute == "expert")]] = 1.0
        told[split] = pairs.with_tables(
            prompts=torch.zeros(len(pairs.prompts), 2), contexts=torch.cat([is_expert, 0 * is_expert], dim=1)
        )
    method = make("micro", {"heads": 4, "tau": 1.0, "stage2_learning_rate": 0.05}).fit(
        told["train"], told["validation"]
    )
    method.adapt(told["train"])
    assert method.scalers["prompts"].scale.tolist() == [torch.inf] * 2
    assert method.scalers["contexts"].scale.tolist() == [1.0, torch.inf]
    weights, expert = method.mixture_weights(told["test"]), told["test"].attribute == "expert"
    assert np.ptp(weights[expert], axis=0).max() == 0 and np.abs(weights[expert][0] - weights[~expert][0]).max() > 0.05


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "a non-finite value: nan in row 3, column 1"),
        (1e30, "hold 1e+30 in row 3, column 1: scaled it is above"),
    ],
)
def test_a_value_that_no_method_can_use_is_named(world, value, message):
    broken = world["test"].responses.clone()
    broken[3, 1] = value
    method = make("micro", {"heads": 2}).fit(world["train"], world["validation"])
    with pytest.raises(InputError, match=re.escape(message)):
        method.predict_proba(world["test"].with_tables(responses=broken))
    if value != value:
        with pytest.raises(InputError, match="features of the contexts hold a non-finite value"):
            contexts = torch.full_like(world["train"].contexts, value)
            make("criterion_fewshot").fit(world["train"], world["validation"]).adapt(
                world["train"].with_tables(contexts=contexts)
            )
