"""What is true about the labels of the corpus: tastes, rewards, and what no method can beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from micro_paper.data.corpus.build import SOURCES, judgements
from micro_paper.data.corpus.compose import compose, levels
from micro_paper.data.corpus.worlds import FLIPPED
from micro_paper.data.registry import build, split_frame
from micro_paper.errors import InputError


@dataclass(frozen=True)
class Truth:
    """What is known about the labels of a split, row by row as `load` returns them.

    Attributes:
        pair_id: (n,) of the rows.
        taste: (n, G) P(z | prompt) of each group: a dimension that alone decides, in the order of `corpus.DIMENSIONS`
            (with reversals the stated one), or a taste of bundled-rpr and its companions.
        posterior: (n, G) P(z | prompt, pair): only dimensions that decide the pair can have judged it.
        z: (n,) number of the group that judged.
        stated: (n,) number of the dimension that the row's attribute names.
        chosen, rejected: (n, 9) true rewards, the levels of the two responses.
        likelihood: (n, G) probability of this row's label given pair and group.
        p_chosen: (n,) the same given prompt, stated criterion and pair.
        flipped: share of labels against the taste that gave them, by design.
        cue: (n,) name of the audience, "none" for neutral prompts.
    """

    pair_id: np.ndarray
    taste: np.ndarray
    posterior: np.ndarray
    z: np.ndarray
    stated: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray
    likelihood: np.ndarray
    p_chosen: np.ndarray
    flipped: float
    cue: np.ndarray

    @property
    def p_untold(self) -> np.ndarray:
        """(n,) probability of this row's label given prompt and pair alone."""
        return (self.posterior * self.likelihood).sum(axis=1)

    def ceilings(self) -> dict[str, float]:
        """Return what no method can beat, but by chance.

        bayes_accuracy: expected accuracy of the best guess from prompt and pair; bayes_accuracy_here: that guess on the
        labels as drawn; bayes_nll: its negative log-likelihood on them, nats; blind_accuracy: the best guess from
        the pair alone with the average taste, on the labels as drawn (NaN where a criterion is stated); told_accuracy:
        expected, knowing z.
        """
        p = self.p_chosen
        with np.errstate(invalid="ignore"):  # a stated criterion has P(z | prompt) = 0 for the others
            blind = self.taste.mean(axis=0) * self.posterior / self.taste
        lean = (blind * (self.likelihood - 0.5)).sum(axis=1)
        knowing = self.likelihood[np.arange(len(p)), self.z]
        guess = np.where(np.isclose(lean, 0), 0.5, lean > 0)
        return {
            "bayes_accuracy": float(np.maximum(p, 1 - p).mean()),
            "bayes_accuracy_here": float(np.where(p == 0.5, 0.5, p > 0.5).mean()),
            "bayes_nll": float(-np.log(p).mean()),
            "blind_accuracy": float(guess.mean()) if np.isfinite(lean).all() else float("nan"),
            "told_accuracy": float(np.maximum(knowing, 1 - knowing).mean()),
        }


def truth(name: str, split: str = "train", **options: Any) -> Truth:
    """Return the ground truth of a split of a bundled world with judgements.

    Args:
        name, split, options: as for `micro_paper.data.load`.

    Raises:
        InputError: another data set; the single ratings of bundled-helpsteer are in `rater_ratings`.
    """
    if name not in SOURCES:
        raise InputError(f"no truth about {name!r}: use one of {', '.join(SOURCES)}, or rater_ratings for ratings")
    own = {k: options[k] for k in ("seed", "sealed", "phrasing", "labels") if k in options}
    seed, sealed, labels = own.get("seed", 0), own.get("sealed", False), own.get("labels", "drawn")
    known = dict(
        zip(
            build(name, **own).frame["pair_id"],
            (j for _, j in judgements(SOURCES[name](own.get("phrasing") or own.get("labels") or "free"), seed, sealed)),
            strict=True,
        )
    )
    rows = split_frame(name, split, **options)["pair_id"]
    found = [known[i] for i in rows]
    pools = {slug: levels(compose(slug, seed)) for slug in {j.slug for j in found}}
    return Truth(
        pair_id=rows.to_numpy(str),
        taste=np.array([j.taste for j in found]),
        posterior=np.array([j.posterior for j in found]),
        z=np.array([j.z for j in found]),
        stated=np.array([j.stated for j in found]),
        chosen=np.array([pools[j.slug][j.winner] for j in found]),
        rejected=np.array([pools[j.slug][j.loser] for j in found]),
        likelihood=np.array([j.likelihood for j in found]),
        p_chosen=np.array([j.p_winner for j in found]),
        flipped=FLIPPED if name in ("bundled-audience", "bundled-topics") and labels == "drawn" else 0.0,
        cue=np.array([j.cue for j in found]),
    )
