"""The noisy Bradley-Terry model against finite differences, another optimiser, scikit-learn and simulated judges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize
from scipy.special import expit
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression

from micro_paper.errors import InputError
from micro_paper.noisy_bradley_terry import NoisyBradleyTerry, Priors, fit_noisy_bradley_terry, objective


def judged(seed: int = 0, n: int = 60, items: int = 5, people: int = 3) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    first = rng.integers(items, size=n)
    second = (first + rng.integers(1, items, size=n)) % items
    return first, second, rng.integers(people, size=n), rng.random(n) < 0.5


def skills(v: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Skills of which the mean over labels is 1."""
    return 1 + v - np.mean([v[w] for w in person])


def slow_loss(theta: np.ndarray, labels: tuple[np.ndarray, ...], items: int, people: int, priors: Priors) -> float:
    """The penalised loss, written label by label."""
    score, bias = theta[:items], theta[items + people :]
    skill = skills(theta[items : items + people], labels[2])
    total = 0.0
    for a, b, w, won in zip(*labels, strict=True):
        p = 1 / (1 + np.exp(-(skill[w] * (score[a] - score[b]) + (bias[w] if len(bias) else 0))))
        total -= np.log(p if won else 1 - p)
    for values, mean, sd in ((score, 0, priors.score), (skill, 1, priors.skill), (bias, 0, priors.bias)):
        total += sum((v - mean) ** 2 / (2 * sd**2) for v in values)
    return total


@pytest.mark.parametrize("priors", [Priors(), Priors(bias=0), Priors(0.7, 1.5, 2.0)])
def test_the_objective_and_its_gradient(priors: Priors) -> None:
    labels = judged()
    theta = np.random.default_rng(1).normal(size=8 + 3 * (priors.bias > 0))
    sign = np.where(labels[3], 1.0, -1.0)
    value, gradient = objective(theta, *labels[:3], sign, 5, priors)
    assert value == pytest.approx(slow_loss(theta, labels, 5, 3, priors), rel=1e-12)
    numeric = approx_fprime(theta, slow_loss, 1e-7, labels, 5, 3, priors)
    np.testing.assert_allclose(gradient, numeric, atol=2e-5)
    wrong = objective(theta, *labels[:3], -sign, 5, priors)[1]
    assert np.abs(wrong - numeric).max() > 0.1  # the check sees a turned label


@pytest.mark.parametrize("priors", [Priors(), Priors(bias=0)])
@pytest.mark.parametrize("seed", range(3))
def test_no_other_optimiser_finds_better(seed: int, priors: Priors) -> None:
    labels = judged(seed)
    found = fit_noisy_bradley_terry(*labels, items=5, people=3, priors=priors)
    theta = np.concatenate([found.score, found.skill - 1, found.bias if priors.bias else []])
    assert found.objective == pytest.approx(slow_loss(theta, labels, 5, 3, priors), rel=1e-10)
    assert found.skill[labels[2]].mean() == pytest.approx(1)
    other = minimize(slow_loss, 0 * theta, (labels, 5, 3, priors), method="BFGS", options={"gtol": 1e-4})
    assert found.objective <= other.fun + 1e-6
    np.testing.assert_allclose(found.score, other.x[:5], atol=5e-3)
    np.testing.assert_allclose(found.skill, skills(other.x[5:8], labels[2]), atol=5e-3)
    np.testing.assert_allclose(theta[8:], other.x[8:], atol=5e-3)


def test_few_judges_of_many_items_keep_their_scale() -> None:
    """Were the mean skill free, scores would shrink and skills grow with the number of items."""
    truth, labels = simulated(2, people=4, labels=1500, items=800)
    found = fit_noisy_bradley_terry(*labels, items=800, people=4)
    assert found.skill[labels[2]].mean() == pytest.approx(1)
    scale = found.score.std() / (truth.score.std() * truth.skill.mean())
    assert 0.7 < scale < 1.3 and np.abs(found.skill - truth.skill / truth.skill.mean()).max() < 0.35


def test_equal_skills_are_plain_bradley_terry() -> None:
    first, second, _, won = labels = judged(3, n=200)
    found = fit_noisy_bradley_terry(*labels, items=5, people=3, priors=Priors(1.3, 1e-4, 0))
    design = np.zeros((200, 5))
    design[np.arange(200), first] += 1
    design[np.arange(200), second] -= 1
    plain = LogisticRegression(C=1.3**2, fit_intercept=False, tol=1e-10, max_iter=1000).fit(design, won)
    np.testing.assert_allclose(found.score, plain.coef_[0], atol=2e-4)
    np.testing.assert_allclose(found.skill, 1, atol=1e-3)


def simulated(seed: int, people: int = 40, labels: int = 250, items: int = 60) -> tuple:
    rng = np.random.default_rng(seed)
    score = rng.normal(size=items) * 1.5
    skill, bias = rng.normal(1, 0.5, people), rng.normal(0, 0.5, people)
    person = np.repeat(np.arange(people), labels)
    first = rng.integers(items, size=len(person))
    second = (first + rng.integers(1, items, size=len(person))) % items
    truth = NoisyBradleyTerry(score, skill, bias, 0.0)
    return truth, (first, second, person, rng.random(len(person)) < truth.probability(first, second, person))


def test_simulated_judges_are_recovered() -> None:
    truth, labels = simulated(0)
    found = fit_noisy_bradley_terry(*labels, items=60, people=40)
    for name, least in (("score", 0.98), ("skill", 0.9), ("bias", 0.8)):
        assert np.corrcoef(getattr(found, name), getattr(truth, name))[0, 1] > least, name
    gap = found.probability(*labels[:3]) - truth.probability(*labels[:3])
    assert np.abs(gap).mean() < 0.04 and abs(gap.mean()) < 0.01
    shuffled = np.random.default_rng(1).permutation(labels[2])  # judges exchanged: nothing to recover
    lost = fit_noisy_bradley_terry(*labels[:2], shuffled, labels[3], items=60, people=40)
    assert abs(spearmanr(lost.skill, truth.skill)[0]) < 0.5


def test_a_judge_against_the_others_has_a_negative_skill() -> None:
    truth, (first, second, person, _) = simulated(1, people=10)
    p = expit(truth.margin(first, second))
    won = np.random.default_rng(0).random(len(p)) < np.where(person == 4, 1 - p, p)
    skill = fit_noisy_bradley_terry(first, second, person, won, items=60, people=10).skill
    assert skill[4] < -0.5 and np.delete(skill, 4).min() > 0.5


def test_what_has_no_label_stays_at_its_prior() -> None:
    labels = judged()
    found = fit_noisy_bradley_terry(*labels, items=6, people=4)
    assert (found.score[5], found.skill[3], found.bias[3]) == pytest.approx((0, 1, 0), abs=1e-4)
    np.testing.assert_allclose(found.margin([0, 5], [5, 0]), [found.score[0], -found.score[0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first": np.array([0, 7])}, r"first must hold whole numbers in 0 \.\. 2"),
        ({"person": np.array([0.0, 1.0])}, "person must hold whole numbers"),
        ({"person": np.array([0])}, "person has shape"),
        ({"second": np.array([0, 1])}, "row 0 compares an item with itself"),
        ({"preferred": np.array([1, -1])}, "preferred must be true or false"),
        ({"preferred": np.array([], bool)}, "one at least"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change: dict, message: str) -> None:
    given = {"first": np.array([0, 2]), "second": np.array([1, 1]), "person": np.array([0, 1])}
    given |= {"preferred": np.array([True, False])} | change
    with pytest.raises(InputError, match=message):
        fit_noisy_bradley_terry(**given, items=3, people=2)


@pytest.mark.parametrize("change", [{"score": 0}, {"skill": -1}, {"bias": np.nan}])
def test_a_bad_prior_is_refused(change: dict) -> None:
    with pytest.raises(InputError, match=f"the prior of {next(iter(change))} must be"):
        Priors(**change)
