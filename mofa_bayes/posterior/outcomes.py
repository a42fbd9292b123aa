"""Predictions of cells, at draws of eta: what is expected there, draws, and the log density of values.

Of a categorical column, eta is the log probability of its level (see `predict`).
"""

from dataclasses import dataclass

import numpy as np

from mofa_bayes.posterior import likelihoods


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells of one likelihood, C of them, at S draws.

    Attributes
    ----------
    likelihood
        Its name.
    eta
        (S, C).
    noise_variance
        Of gaussian and student_t cells, 0 elsewhere (C,).
    nuisance, levels
        Parameters of each cell's column, (C,) and (C, L + 1).
    exposure
        Of each cell's subject (C,).
    """

    likelihood: str
    eta: np.ndarray
    noise_variance: np.ndarray
    nuisance: np.ndarray
    levels: np.ndarray
    exposure: np.ndarray

    @property
    def own(self) -> likelihoods.Own:
        """What the likelihood needs beside eta; unit precision where there is no noise."""
        return likelihoods.Own(
            precision=1 / np.where(self.noise_variance == 0, 1.0, self.noise_variance),
            nuisance=self.nuisance,
            log_exposure=np.log(self.exposure),
            limits=self.levels * self.nuisance[:, None],
            code=np.zeros(len(self.nuisance), dtype=np.intp),
        )


def expect(cells: Cells) -> np.ndarray:
    """E[y | eta] (S, C)."""
    if cells.likelihood == "categorical":
        return np.asarray(np.exp(cells.eta))
    return likelihoods.expect_values(cells.likelihood, cells.eta, cells.own)


def draw(cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """Draw y | eta (S, C); of bernoulli and categorical cells their probability, which is what is asked of them."""
    if cells.likelihood in ("bernoulli", "categorical"):
        return expect(cells)
    return likelihoods.draw_values(cells.likelihood, cells.eta, cells.own, rng)


def log_density(cells: Cells, y: np.ndarray) -> np.ndarray:
    """Log density of values y (C,), on the model's scale, (S, C).

    Of a categorical variable the indicator that is 1 carries it all; the others give 0.
    """
    if cells.likelihood == "categorical":
        return np.asarray(y * cells.eta)
    # Draw by draw: slope and curvature, which come along, are then no burden.
    every = [likelihoods.log_density(cells.likelihood, y[None], eta[None], cells.own)[0] for eta in cells.eta]
    return np.concatenate(every)
