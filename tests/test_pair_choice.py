"""I(A; Z | X): by hand, by entropies, and of the bundled worlds against what their labels' posteriors say."""

import numpy as np
import pytest
from scipy.stats import entropy

from micro_paper.data.corpus import topics
from micro_paper.data.corpus.tastes import KNOBS
from micro_paper.data.corpus.truth import truth
from micro_paper.data.corpus.worlds import audience_choice, taste_choice
from micro_paper.errors import InputError
from micro_paper.experiments.pair_choice import CHOICES, pair_choice_information, pair_choice_table
from micro_paper.theory import selection_information


def test_pairs_that_name_the_group_tell_all_of_it_and_shared_ones_nothing() -> None:
    groups = np.array([[0.5, 0.5], [0.25, 0.75]])
    own = np.stack([np.eye(2), np.eye(2)])
    assert selection_information(groups, own) == pytest.approx((entropy([0.5, 0.5]) + entropy([0.25, 0.75])) / 2)
    assert selection_information(groups, own, [1, 0]) == pytest.approx(np.log(2))
    assert selection_information(groups, np.full((2, 2, 3), 1 / 3)) == 0


def test_it_is_the_groups_entropy_less_that_given_the_pair() -> None:
    rng = np.random.default_rng(0)
    groups, pairs = rng.dirichlet(np.ones(4), 3), rng.dirichlet(np.ones(6), (3, 4))
    joint = groups[:, :, None] * pairs
    given = [entropy(joint[x], axis=0) @ joint[x].sum(axis=0) for x in range(3)]
    assert selection_information(groups, pairs) == pytest.approx(np.mean(entropy(groups, axis=1) - given))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (np.ones((1, 2)), "pairs_given_group must be"),
        (np.full((1, 3, 2), 0.5), "group_weights must have shape"),
        (np.full((1, 2, 2), 0.4), "pairs_given_group must sum to 1"),
    ],
)
def test_arguments_are_checked(pairs, message) -> None:
    with pytest.raises(InputError, match=message):
        selection_information([[0.5, 0.5]], pairs)


def test_what_a_topic_shows_are_probabilities() -> None:
    topic = next(t for t in topics() if not t.sealed)
    for choice in (audience_choice(topic, 0), taste_choice(topic, 0, KNOBS["bundled-rpr"])):
        assert choice.prompts.sum() == pytest.approx(1) and np.allclose(choice.groups.sum(axis=1), 1)
        assert np.allclose(choice.pairs.sum(axis=2), 1) and len(choice.prompts) == len(choice.pairs)


@pytest.mark.long
def test_tastes_share_their_pairs_and_the_other_worlds_break_the_assumption() -> None:
    table = pair_choice_table().set_index("dataset")["nats"]
    assert set(table.index) == set(CHOICES)
    assert (table[list(KNOBS)] < 1e-12).all() and table["bundled-audience"] > 0.6 and table["bundled-topics"] > 0.6
    for name in ("bundled-audience", "bundled-topics"):  # lengths are balanced there, and pairs run out
        known = truth(name, "train")
        seen = entropy(known.posterior, known.taste, axis=1).mean()
        assert table[name] == pytest.approx(seen, abs=0.08)
    with pytest.raises(InputError, match="bundled-audience"):
        pair_choice_information("bundled-audiense")
