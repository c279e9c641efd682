"""Latent classes of people as a row: a head a class, and a person's classes from the person's labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from micro_paper.experiments.latent_classes import fit_latent_classes
from micro_paper.methods.controls import principal_directions
from micro_paper.methods.exact import SingleExact
from micro_paper.methods.person_weights import PersonWeights
from micro_paper.methods.persons import PersonMethod, people_of
from micro_paper.pairs import Pairs

CLASSES = 3
DIRECTIONS = 31  # that classes may differ in, beside the pooled head's
RESTARTS, ITERATIONS, TOLERANCE = 2, 40, 1e-4


class PersonClasses(PersonWeights):
    """CLASSES classes of people by EM on all training labels; a person's classes by Bayes' rule.

    The heads of the classes are sought in the span of the row `single_exact` and of the DIRECTIONS leading principal
    directions; their penalty is that row's, which validation pairs choose.
    """

    supervision = PersonMethod.supervision

    def _share(self, train_pairs: Pairs, validation: Pairs) -> None:
        self.mixture = SingleExact(self.settings, self.seed).fit(train_pairs, validation)
        pooled = self.mixture.head_weights().double()
        leading = principal_directions(self.mixture._scaled(train_pairs).difference, DIRECTIONS)
        self.directions = torch.cat([pooled / pooled.norm().clamp_min(1e-12), leading])
        difference = self._difference(train_pairs)
        person = np.unique(people_of(train_pairs), return_inverse=True)[1]
        self.classes = fit_latent_classes(
            difference,
            person,
            CLASSES,
            np.random.default_rng(self.seed),
            restarts=RESTARTS,
            max_iterations=ITERATIONS,
            tolerance=TOLERANCE,
            ridge=2 * self.mixture.penalty * len(person),
        )

    def _difference(self, pairs: Pairs) -> np.ndarray:
        return (self.mixture._scaled(pairs).difference.double() @ self.directions.T).numpy()

    def _unknown(self) -> Tensor:
        return torch.from_numpy(np.log(self.classes.weights))[None]

    def _log_prior(self, pairs: Pairs) -> Tensor:
        return torch.zeros(1, CLASSES, dtype=torch.float64)

    def _margins(self, pairs: Pairs) -> Tensor:
        return torch.from_numpy(self._difference(pairs) @ self.classes.heads.T)

    def _vectors(self, pairs: Pairs, own: Tensor, count: int) -> Tensor:
        return self._unknown() + super()._vectors(pairs, own, count)
