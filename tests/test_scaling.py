"""Scaled tables are worked out once, only for the same objects, and few are kept."""

import numpy as np
import pytest
import torch

from micro_paper.errors import InputError
from micro_paper.methods import scaling
from micro_paper.methods.scaling import Recent, Scaler

CPU = torch.device("cpu")


def test_rows_count_once_however_often_they_are_named():
    table = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).double()
    rows = torch.tensor([0, 2, 2, 5]), torch.tensor([2, 0, 1, 1])
    scaler = Scaler.of_rows(table, *rows)
    used = table[[0, 1, 2, 5]].numpy()
    assert np.allclose(scaler.mean, used.mean(0)) and np.allclose(scaler.scale, used.std(0, ddof=1))
    assert Scaler.of_rows(table, *rows) is scaler
    assert Scaler.of_rows(table.clone(), *rows) is not scaler
    off = Scaler.of_rows(table, *rows, enabled=False)
    assert (off.mean == 0).all() and (off.scale == 1).all()


def test_a_whole_table_is_scaled_once_for_each_precision():
    table = torch.randn(5, 2)
    scaler = Scaler.fit(table)
    first = scaler.whole(table, "responses", torch.float32, CPU)
    assert scaler.whole(table, "responses", torch.float32, CPU) is first
    assert torch.equal(first, scaler(table, torch.float32, CPU))
    assert scaler.whole(table, "responses", torch.float64, CPU).dtype == torch.float64
    assert Scaler.fit(table).whole(table, "responses", torch.float32, CPU) is not first
    broken = table.clone()
    broken[0, 0] = torch.inf
    with pytest.raises(InputError, match="features of the prompts hold a non-finite value"):
        scaler.whole(broken, "prompts", torch.float32, CPU)


def test_few_results_are_kept_and_their_arguments_with_them():
    made, recent = [], Recent(2)

    def get(x):
        return recent.get((x, 1), lambda: made.append(1) or len(made))

    tensors = [torch.zeros(1) for _ in range(3)]
    assert [get(tensors[i]) for i in (0, 1, 0, 2, 0, 1)] == [1, 2, 1, 3, 1, 4]
    assert len(recent._kept) == 2
    assert all(arguments[0] is tensors[i] for (arguments, _), i in zip(recent._kept.values(), (0, 1), strict=True))
    assert scaling._TABLES.size <= 8
