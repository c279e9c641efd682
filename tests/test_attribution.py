"""Heads times readings: where the context can be read and heads are true, accuracy follows; nothing else moves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from told import with_criteria

from micro_paper.errors import InputError
from micro_paper.experiments import attribution
from micro_paper.experiments.worlds import World
from micro_paper.methods.settings import Settings
from micro_paper.report.plots_attribution import attribution_figure

QUICK = Settings(heads=4, dtype="float64", learning_rate=1e-2, epochs=3, tau=0.1, alpha=0.05)


@pytest.fixture(scope="module")
def unread(world) -> World:
    """Contexts at the last token are noise, the criterion by itself tells the attribute."""
    told = {}
    for split, pairs in world.items():
        noise = torch.randn(pairs.contexts.shape, generator=torch.Generator().manual_seed(len(split))).double()
        told[split] = replace(with_criteria(pairs), contexts=noise)
    return World("synthetic-audience", 0, **told, fingerprint="")


def test_the_table_has_every_cell_and_the_readable_ones_are_better(unread):
    table, evaluation = attribution.attribution([unread], QUICK, [0, 1], 20)
    assert list(evaluation.probability)[0] == "learned, last token"
    mean = table[table.attribute == "average"].set_index(["heads", "reading"])["value"]
    assert set(mean.index) == {(h, r) for h in ("learned", "PCA", "random") for r in attribution.READINGS}
    assert mean["learned", "one-hot"] > mean["learned", "last token"] + 0.05
    assert mean["learned", "criterion"] > mean["learned", "last token"] + 0.05
    readable = attribution.readability([unread]).set_index("reading")
    assert readable.value["one-hot"] == readable.value["criterion"] == 1
    assert readable.value["last token"] < readable.chance["last token"] + 0.15
    figure = attribution_figure(table, readable.reset_index())
    assert isinstance(figure, Figure) and len(figure.axes) == 2


def test_a_row_under_the_papers_reading_is_micro_itself(unread):
    from micro_paper.experiments.evaluation import evaluate

    evaluation, cells = attribution.evaluate_readings([unread], QUICK, [0], 20)
    micro = evaluate([unread], ["micro", "micro_criterion"], QUICK, seeds=[0], budget=20).probability
    assert np.array_equal(evaluation.probability["learned, last token"], micro["micro"])
    assert np.array_equal(evaluation.probability["learned, criterion"], micro["micro_criterion"])
    assert cells["PCA, one-hot"] == ("PCA", "one-hot")


def test_one_hot_readings_say_which_attribute_it_is(unread):
    told = attribution.with_one_hot(unread)
    names = sorted(set(unread.train.attribute))
    assert told.test.criterion_features.argmax(dim=1).tolist() == [names.index(a) for a in told.test.attribute]
    narrow = replace(unread, train=unread.train.with_tables(prompts=unread.train.prompts[:, :2]))
    with pytest.raises(InputError, match="4 attributes do not fit into the 2 columns"):
        attribution.with_one_hot(narrow)


def test_true_levels_are_those_of_the_corpus():
    from micro_paper.data.corpus.truth import truth

    known = truth("bundled-rpr", "test")
    n = 40
    zero, rows = torch.zeros(1, 12, dtype=torch.float64), torch.zeros(n, dtype=torch.long)
    fields = {"responses": zero, "chosen": rows, "rejected": rows, "prompts": zero, "prompt": rows, "contexts": None}
    fields |= {"context": None, "lengths": zero[0], "prompt_id": known.pair_id[:n]}
    ids = known.pair_id[:n][::-1].copy()
    pairs = attribution.Pairs(**fields, pair_id=ids, attribute=np.full(n, "x"))
    world = World("bundled-rpr", 0, train=pairs, validation=pairs, test=pairs, fingerprint="")
    leveled = attribution.with_true_levels(world).test
    expected = (known.chosen - known.rejected)[:n][::-1]
    assert np.allclose(leveled.difference.numpy(), expected)
