"""Scaled tables are worked out once, for the very pairs that they belong to and no others."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from micro_paper.errors import InputError
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
