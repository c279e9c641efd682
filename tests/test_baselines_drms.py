"""DRMs: the directions against scikit-learn, what centring means for the labels, and the random control."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA, TruncatedSVD

from micro_paper.data import synthetic
from micro_paper.errors import InputError
from micro_paper.experiments.worlds import context_budget
from micro_paper.methods import make
from micro_paper.methods.drms import Drms, DrmsRandom
from micro_paper.methods.hyre import hyre_weights, pair_losses

QUICK = {"heads": 6, "dtype": "float64"}
ROWS = pytest.mark.parametrize("method", [Drms, DrmsRandom])


@pytest.fixture(scope="module")
def world():
    drawn = synthetic.draw_world("synthetic-rated", train=300, validation=40, test=80)
    return {split: sample.pairs for split, sample in drawn.items()}


@pytest.fixture(scope="module")
def drms(world):
    return Drms(QUICK, 0).fit(world["train"], world["validation"])


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_directions_are_scikit_learns_principal_components(drms, world):
    d = drms._scaled(world["train"]).difference.numpy()
    assert np.abs(d.mean(axis=0)).max() > 0.1  # the label shows in the mean, so that centring matters
    heads = unit(drms.heads.weight.detach().numpy())
    centred = PCA(3, svd_solver="full").fit(d).components_
    assert np.allclose(np.abs((heads[::2] * centred).sum(axis=1)), 1, atol=1e-9)
    assert np.allclose(heads[::2], -heads[1::2])
    raw = TruncatedSVD(3, algorithm="arpack", random_state=0).fit(d).components_
    assert not np.allclose(np.abs((heads[::2] * raw).sum(axis=1)), 1, atol=1e-3)


def test_without_a_mean_difference_it_is_the_uncentred_analysis(world):
    """With every pair in both orders the mean is zero and the label gone: PcaHeads' directions."""
    train = world["train"]
    both = replace(
        train,
        chosen=torch.cat([train.chosen, train.rejected]),
        rejected=torch.cat([train.rejected, train.chosen]),
        **{f: torch.cat([getattr(train, f)] * 2) for f in ("prompt", "context")},
        **{f: np.concatenate([getattr(train, f)] * 2) for f in ("pair_id", "prompt_id", "attribute")},
    )
    ours = Drms(QUICK, 0).fit(both, world["validation"]).heads.weight.detach()
    plain = make("pca_heads", QUICK, 0).fit(both, world["validation"]).heads.weight.detach()
    assert torch.allclose(ours, plain, atol=1e-9)


@ROWS
def test_reweighted_as_in_hyre(method, world):
    context = context_budget(world["train"], 10, 0)
    fitted = method(QUICK, 0).fit(world["train"], world["validation"]).adapt(context)
    test = world["test"]
    p = fitted.predict_proba(test)
    for name in np.unique(test.attribute):
        weights = hyre_weights(pair_losses(fitted.head_margins(context.select(context.attribute == name))))
        margins = fitted.head_margins(test.select(test.attribute == name))
        assert np.allclose(p[test.attribute == name], (1 / (1 + np.exp(-margins))) @ weights)
    assert np.abs(p + fitted.predict_proba(test.flip()) - 1).max() < 1e-12
    assert (fitted.predict_proba(test.with_tables(rejected=test.chosen)) == 0.5).all()


@ROWS
def test_nothing_is_trained_and_margins_have_unit_size(method, world):
    fitted = method(QUICK, 0).fit(world["train"], world["validation"])
    assert fitted.history.train == [] and not any(p.requires_grad for p in fitted.heads.parameters())
    assert np.allclose((fitted.head_margins(world["train"]) ** 2).mean(axis=0), 1)
    assert np.allclose(fitted.mixture_weights(world["test"]), 1 / 6)


def test_opposed_heads_tie_exactly_until_adapted(drms, world):
    assert (drms.predict_proba(world["test"]) == 0.5).all()
    odd = Drms(QUICK | {"heads": 5}, 0).fit(world["train"], world["validation"])
    assert (odd.predict_proba(world["test"]) != 0.5).any()


def test_random_control_draws_its_heads_by_seed_and_reads_no_label(world):
    train, validation = world["train"], world["validation"]
    heads = [DrmsRandom(QUICK, s).fit(train, validation).heads.weight for s in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1]) and not torch.allclose(heads[0], heads[2])
    assert torch.equal(DrmsRandom(QUICK, 0).fit(train.flip(), validation).heads.weight, heads[0])
    assert "binary" not in DrmsRandom.supervision and "binary" in Drms.supervision
    kinds = [Drms(QUICK, s).fit(train, validation).heads.weight for s in (0, 1)]
    assert torch.equal(kinds[0], kinds[1])  # no randomness at all


def test_ratings_are_carried_but_not_read(drms, world):
    m = len(world["train"].responses)
    rated = replace(world["train"], ratings=torch.ones(m, 1, dtype=torch.float64), rating_names=("quality",))
    assert torch.equal(Drms(QUICK, 0).fit(rated, world["validation"]).heads.weight, drms.heads.weight)


def test_bad_requests_are_named(world):
    with pytest.raises(InputError, match="heads = 60 needs 30 feature dimensions, got 24"):
        Drms(QUICK | {"heads": 60}).fit(world["train"], world["validation"])
    with pytest.raises(InputError, match="there are no training pairs"):
        Drms(QUICK).fit(world["train"].select(slice(0, 0)), world["validation"])
    with pytest.raises(InputError, match="no labelled pairs of attribute"):
        few = world["train"].select(world["train"].attribute == "verbosity")
        Drms(QUICK).fit(world["train"], world["validation"]).adapt(few).predict_proba(world["test"])
