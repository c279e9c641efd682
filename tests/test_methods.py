"""Every row of the METHODS table: the protocol, known truth, and what each row must not see."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from told import with_criteria

from micro_paper import metrics
from micro_paper.data import synthetic
from micro_paper.errors import InputError
from micro_paper.experiments.worlds import context_budget
from micro_paper.methods import METHODS, make
from micro_paper.methods.scaling import Scaler
from micro_paper.methods.settings import Settings
from micro_paper.methods.static import maxmin_weights
from micro_paper.methods.table import Method

QUICK = {"heads": 4, "dtype": "float64", "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def world(world):
    """The world of `conftest`, whose pairs also state their criterion by itself."""
    return {split: with_criteria(pairs) for split, pairs in world.items()}


@pytest.fixture(scope="module")
def fitted(world):
    context = context_budget(world["train"], 20, 0)
    return {name: make(name, QUICK, 0).fit(world["train"], world["validation"]).adapt(context) for name in METHODS}


@pytest.mark.long
@pytest.mark.parametrize("name", METHODS)
def test_protocol(name, fitted, world):
    method = fitted[name]
    assert isinstance(method, Method) and method.supervision
    p, q = method.predict_proba(world["test"]), method.predict_proba(world["test"].flip())
    assert p.shape == (len(world["test"]),) and (p >= 0).all() and (p <= 1).all()
    assert np.abs(p + q - 1).max() < 1e-12


@pytest.mark.parametrize("prediction", ["probability", "reward", "log_sigmoid"])
def test_adding_a_constant_to_a_prompts_rewards(prediction, fitted, world):
    """The pair model is shift-invariant; the released code's log-sigmoid scoring is not."""
    method = fitted["micro"]
    settings = method.settings
    method.settings = replace(settings, prediction=prediction)
    shift = torch.linalg.lstsq(
        method.heads.weight.detach() / method.scalers["responses"].scale,
        5 * torch.ones(4, 1, dtype=torch.float64),
    ).solution.T
    test = world["test"]
    moved = test.with_tables(responses=test.responses + shift)
    p, q = method.predict_proba(test), method.predict_proba(moved)
    method.settings = settings
    change = np.abs(p - q).max()
    assert change > 1e-2 if prediction == "log_sigmoid" else change < 1e-9


def test_single_is_the_mixture_of_one(world):
    single = make("single", QUICK, 3).fit(world["train"], world["validation"])
    one = make("static_uniform", QUICK | {"heads": 1}, 3).fit(world["train"], world["validation"])
    router = make("micro_stage1", QUICK | {"heads": 1}, 3).fit(world["train"], world["validation"])
    p = single.predict_proba(world["test"])
    for other in (one, router):
        assert np.abs(p - other.predict_proba(world["test"])).max() < 1e-6
    assert (
        np.abs(p - make("single", QUICK, 4).fit(world["train"], world["validation"]).predict_proba(world["test"])).max()
        > 1e-3
    )


def test_predictions_follow_the_stated_formulae(fitted, world):
    method, test = fitted["micro"], world["test"]
    margins, weights = method.head_margins(test), method.mixture_weights(test)
    assert np.allclose(weights.sum(1), 1)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    for prediction, expected in {
        "probability": (weights * sigmoid(margins)).sum(1),
        "reward": sigmoid((weights * margins).sum(1)),
    }.items():
        settings, method.settings = method.settings, replace(method.settings, prediction=prediction)
        assert np.allclose(method.predict_proba(test), expected, atol=1e-12)
        method.settings = settings


def test_heads_are_recovered_and_contexts_route(world):
    """Known truth: heads to correlation .95, the router within .02 of the oracle; not so without context."""
    people = synthetic.population(seed=4)
    train = synthetic.sample(people, 9000, seed=1, prefix="train")
    validation = synthetic.sample(people, 400, seed=2, prefix="validation")
    test = synthetic.sample(people, 3000, by_context=True, seed=3, prefix="test")
    settings = QUICK | {"alpha": 0.05, "epochs": 8, "patience": 3, "tau": 1.0}
    method = make("micro", settings, 0).fit(train.pairs, validation.pairs)
    learned = method.heads.weight.detach() / method.scalers["responses"].scale
    match = metrics.match_heads(learned.numpy(), people.heads.numpy())
    assert np.abs(match.correlation).min() > 0.95
    without = metrics.accuracy(method.predict_proba(test.pairs))
    method.adapt(context_budget(train.pairs, 50, 0))
    adapted = metrics.accuracy(method.predict_proba(test.pairs))
    own = test.margins.gather(1, test.group[:, None])[:, 0].sigmoid().numpy()
    oracle = metrics.accuracy(own)
    assert oracle - adapted < 0.02
    assert oracle - without > 0.15


def test_reversed_pairs_without_context_teach_nothing():
    """When every pair carries both labels and the prompt is silent, the optimum of stage 1 is log 2."""
    people = synthetic.population(neutral=1.0)
    pairs = synthetic.sample(people, 400, seed=1).pairs
    both = replace(
        pairs,
        chosen=torch.cat([pairs.chosen, pairs.rejected]),
        rejected=torch.cat([pairs.rejected, pairs.chosen]),
        **{f: torch.cat([getattr(pairs, f)] * 2) for f in ("prompt", "context")},
        **{f: np.concatenate([getattr(pairs, f)] * 2) for f in ("pair_id", "prompt_id", "attribute")},
    )
    method = make("single", QUICK | {"epochs": 20}, 0).fit(both, both)
    assert min(method.history.validation) == pytest.approx(np.log(2), abs=2e-3)
    one_label = make("single", QUICK | {"epochs": 20}, 0).fit(pairs, pairs)
    assert min(one_label.history.validation) < np.log(2) - 0.01


def test_same_seed_same_bits_other_seed_other_run(world):
    runs = [
        make("micro", QUICK, s).fit(world["train"], world["validation"]).predict_proba(world["test"]) for s in (0, 0, 1)
    ]
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])


def test_stage_2_freezes_the_heads_and_starts_afresh_each_time(world):
    method = make("micro", QUICK, 0).fit(world["train"], world["validation"])
    heads = method.heads.weight.detach().clone()
    small, large = (context_budget(world["train"], b, 0) for b in (5, 40))
    first = method.adapt(small).predict_proba(world["test"])
    method.adapt(large)
    assert np.array_equal(method.adapt(small).predict_proba(world["test"]), first)
    assert torch.equal(method.heads.weight.detach(), heads)


def test_labels_hidden_in_stage_1_do_not_change_it(world):
    """Attribute and context of the training pairs are not read, nor anything of the test pairs."""
    hidden = replace(world["train"], attribute=np.array(["?"] * len(world["train"])), context=None, contexts=None)
    for name in ("micro", "single", "static_learned", "pca_heads", "random_heads"):
        a = make(name, QUICK, 0).fit(world["train"], world["validation"])
        b = make(name, QUICK, 0).fit(hidden, world["validation"])
        assert torch.equal(a.heads.weight, b.heads.weight)


def test_the_shuffled_router_cannot_use_the_context(fitted, world):
    accuracy = {
        n: metrics.accuracy(fitted[n].predict_proba(world["test"])) for n in ("shuffled_router", "criterion_fewshot")
    }
    assert accuracy["shuffled_router"] < accuracy["criterion_fewshot"] - 0.05


def test_pca_heads_are_scikit_learns_directions(fitted, world):
    from sklearn.decomposition import TruncatedSVD

    method = fitted["pca_heads"]
    d = method._scaled(world["train"]).difference.numpy()
    reference = TruncatedSVD(2, algorithm="arpack", random_state=0).fit(d).components_
    ours = method.heads.weight.detach().numpy()
    ours = ours / np.linalg.norm(ours, axis=1, keepdims=True)
    assert np.allclose(np.abs((ours[[0, 2]] * reference).sum(1)), 1, atol=1e-8)
    assert np.allclose(ours[0], -ours[1]) and np.allclose(
        method.head_margins(world["train"]).std(0).mean(), 1, atol=0.05
    )


def test_maxmin_weights_against_a_grid():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, size=(60, 2))
    group = np.arange(60) % 3
    worst = lambda w: min(np.log(p[group == g] @ w).mean() for g in range(3))  # noqa: E731
    grid = np.linspace(0, 1, 2001)
    best = max(worst(np.array([w, 1 - w])) for w in grid)
    found = maxmin_weights(p, group)
    assert found.sum() == pytest.approx(1) and worst(found) == pytest.approx(best, abs=1e-5)
    assert worst(np.array([0.5, 0.5])) <= worst(found) + 1e-9


def test_length_alone():
    pairs = synthetic.sample(synthetic.population(), 200).pairs
    lengths = torch.arange(len(pairs.responses), dtype=torch.float64)
    longer = replace(
        pairs,
        lengths=lengths,
        chosen=torch.maximum(pairs.chosen, pairs.rejected),
        rejected=torch.minimum(pairs.chosen, pairs.rejected),
    )
    assert metrics.accuracy(make("length").fit(longer, longer).predict_proba(longer)) == 1
    assert metrics.accuracy(make("length").fit(pairs, pairs).predict_proba(pairs)) == 0.5


def test_unit_head_scale(world):
    method = make("micro", QUICK | {"head_scale": "unit"}, 0).fit(world["train"], world["validation"])
    assert np.allclose(np.sqrt((method.head_margins(world["train"]) ** 2).mean(0)), 1, atol=1e-9)


def test_tau_is_chosen_on_validation_only(world):
    settings = QUICK | {"tau": 0.0}
    method = make("micro", settings, 0).fit(world["train"], world["validation"])
    method.adapt(context_budget(world["train"], 20, 0))
    losses = {}
    for tau in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        fixed = make("micro", QUICK | {"tau": tau}, 0).fit(world["train"], world["validation"])
        fixed.adapt(context_budget(world["train"], 20, 0))
        losses[tau] = metrics.nll(fixed.predict_proba(world["validation"]))
    assert method.stage2.tau == min(losses, key=losses.get)


def test_own_context_scaling_uses_the_stage_2_pairs(world):
    method = make("micro", QUICK | {"context_scaling": "own"}, 0).fit(world["train"], world["validation"])
    context = context_budget(world["train"], 20, 0)
    method.adapt(context)
    expected = Scaler.fit(context.context_features)
    assert torch.equal(method.scalers["contexts"].mean, expected.mean)
    assert not torch.equal(method.scalers["prompts"].mean, expected.mean)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": 0}, "heads must be >= 1, got 0"),
        ({"heads": 2.5}, "heads must be a whole number, got 2.5"),
        ({"epochs": True}, "epochs must be a whole number, got True"),
        ({"alpha": "0.5"}, "alpha must be a finite number, got '0.5'"),
        ({"alpha": 10**400}, "alpha must be a finite number, got 1000"),
        ({"epochs": [10**5000]}, "epochs must be a whole number, got a list"),
        ({"early_stopping": 1}, "early_stopping must be true or false, got 1"),
        ({"dtype": None}, "dtype must be a text, got None"),
        ({"alpha": -3.0}, "alpha must be >= 0, got -3.0"),
        ({"alpha": float("nan")}, "alpha must be a finite number, got nan"),
        ({"tau": -1.0}, "tau must be > 0"),
        ({"alhpa": 0.1}, "unknown setting 'alhpa'. Did you mean 'alpha'?"),
        ({"prediction": "vote"}, "prediction must be one of"),
        ({"learning_rate": -1}, "learning_rate must be > 0"),
        ({"prior": "none"}, "prior must be one of"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        Settings.of(settings)


def test_bad_requests_are_named(world):
    with pytest.raises(InputError, match="unknown method 'micor'. Did you mean 'micro'"):
        make("micor")
    scarce = min((world["train"].attribute == a).sum() for a in set(world["train"].attribute))
    with pytest.raises(InputError, match=f"budget 100000 is larger than the {scarce} training pairs"):
        context_budget(world["train"], 100_000, 0)
    with pytest.raises(InputError, match="budget must be >= 1"):
        context_budget(world["train"], 0, 0)
    blind = replace(world["train"], context=None, contexts=None)
    with pytest.raises(InputError, match="stage 2 needs pairs that state a context"):
        make("micro", QUICK).fit(world["train"], world["validation"]).adapt(blind)


def test_a_refit_scales_afresh(world):
    """Two fits on pairs that share their tables: the second is as if it were the first."""
    method = make("single", QUICK, 0).fit(world["train"].select(slice(0, 50)), world["validation"])
    again = method.fit(world["train"], world["validation"]).predict_proba(world["test"])
    fresh = make("single", QUICK, 0).fit(world["train"], world["validation"]).predict_proba(world["test"])
    assert np.array_equal(again, fresh)


def test_identical_responses_are_an_exact_tie(world):
    test = world["test"].with_tables(rejected=world["test"].chosen)
    for name in ("micro", "static_learned", "pca_heads"):
        method = make(name, {"heads": 3}, 0).fit(world["train"], world["validation"])
        assert (method.predict_proba(test) == 0.5).all()


def test_maxmin_alternates_with_fewer_heads_than_groups(world):
    method = make("static_maxmin", QUICK | {"epochs": 1}, 0).fit(world["train"], world["validation"])
    assert len(method.heads.weight) == 2 and len(method.history.train) == 4


@pytest.mark.parametrize("name", ["micro", "single", "static_maxmin", "oracle_attribute_exact", "criterion_fewshot"])
def test_bad_pairs_are_refused(name, world):
    empty = world["train"].select(slice(0, 0))
    if name != "criterion_fewshot":
        with pytest.raises(InputError, match="there are no training pairs"):
            make(name, QUICK).fit(empty, world["validation"])
    none = world["validation"].select(slice(0, 0))
    assert make(name, QUICK).fit(world["train"], none).supervision
    spoiled = world["train"].responses.clone()
    spoiled[3] = torch.nan
    if name != "criterion_fewshot":
        with pytest.raises(InputError, match="features of the responses hold a non-finite value"):
            make(name, QUICK).fit(world["train"].with_tables(responses=spoiled), world["validation"])


MATCHED = ("micro", "single", "static_uniform", "static_learned", "static_maxmin", "shared_base", "shared_base_mlp")


@pytest.mark.parametrize("name", MATCHED)
def test_rows_take_the_steps_that_match_them_and_choose_none(name, world, monkeypatch):
    """Whatever the number of pairs: passes repeat, and validation pairs keep no epoch. Without steps they do."""
    batches = []
    drawn = torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda n, **how: batches.append(n) or drawn(n, **how))
    settings = QUICK | {"steps": 25, "epochs": 1, "batch_size": 32}
    for n in (64, 300):
        batches.clear()
        few = world["train"].select(slice(0, n))
        method = make(name, settings, 0).fit(few, world["validation"])
        per_epoch = -(-n // 32)
        assert len(method.history.train) == -(-25 // per_epoch) == batches.count(n)
        assert method.history.validation == [] and method.history.best_epoch == -1
        other = make(name, settings, 0).fit(few, world["validation"].flip())
        assert torch.equal(method.head_weights(), other.head_weights())
    assert make(name, settings | {"steps": 0}, 0).fit(few, world["validation"]).history.validation


@pytest.mark.parametrize("name", ["micro", "single", "static_learned", "shared_base", "shared_base_mlp"])
def test_every_row_starts_from_a_mean_reward_of_zero(name, world):
    for heads in (1, 4):
        method = make(name, QUICK | {"heads": heads}, 0).fit(world["train"], world["validation"])
        start = method._make_heads(method._scaled(world["train"])).weight
        assert start.mean(dim=0).abs().max() < 1e-15
        assert (start.abs().max() > 0.01) == (len(start) > 1)
    four = [make(n, QUICK, 0).fit(world["train"], world["validation"]) for n in ("micro", "static_learned")]
    first, second = (m._make_heads(m._scaled(world["train"])).weight for m in four)
    assert torch.equal(first, second)


def test_the_criterion_row_changes_the_reading_alone(fitted, world):
    """Stage 1 is micro's own; stage 2 is micro's under the other reading, at the same alpha, tau and steps."""
    micro, read = fitted["micro"], fitted["micro_criterion"]
    assert torch.equal(micro.head_weights(), read.head_weights())
    assert replace(read.settings, router_input="context") == micro.settings and read.stage2 == micro.stage2
    assert read.stage1_key() == micro.stage1_key()
    scrambled = replace(world["test"], contexts=world["test"].contexts.flip(0))
    p, q = (method.predict_proba(world["test"]) for method in (micro, read))
    assert np.array_equal(read.predict_proba(scrambled), q) and not np.array_equal(micro.predict_proba(scrambled), p)


def test_the_converged_row_stops_where_validation_no_longer_improves(world):
    method = make("micro_converged", QUICK | {"steps": 5}, 0).fit(world["train"], world["validation"])
    seen = method.history.validation
    assert 4 < len(seen) <= method.settings.epochs and method.history.best_epoch == int(np.argmin(seen))
    short = make("micro", QUICK | {"steps": 5}, 0).fit(world["train"], world["validation"])
    assert metrics.nll(method.predict_proba(world["validation"])) < metrics.nll(
        short.predict_proba(world["validation"])
    )


def test_the_best_head_is_the_one_of_least_loss_on_the_labels(fitted, world):
    context = context_budget(world["train"], 20, 0)
    method = fitted["shared_base_best"]
    losses = -np.log(1 / (1 + np.exp(-method.head_margins(context))))
    margins = method.head_margins(world["test"])
    for name in set(context.attribute):
        best = losses[context.attribute == name].sum(axis=0).argmin()
        own = world["test"].attribute == name
        expected = 1 / (1 + np.exp(-margins[own, best]))
        assert np.allclose(method.predict_proba(world["test"])[own], expected, atol=1e-12)


def test_rows_of_a_hundred_heads(fitted, world):
    assert fitted["hyre_100"].head_margins(world["test"]).shape[1] == 100
    width = world["train"].responses.shape[1]
    assert fitted["drms_100"].head_margins(world["test"]).shape[1] == min(100, 2 * width)
