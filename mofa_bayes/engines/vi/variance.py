"""Variance on the scale of eta: what factors explain there, and what each likelihood has of its own."""

import numpy as np

from mofa_bayes.engines.vi.globals import Globals
from mofa_bayes.engines.vi.layout import Layout, Part
from mofa_bayes.engines.vi.packed import Array


def explained_by_factor(layout: Layout, globals_: Globals) -> Array:
    """Share of each view's variance that each factor alone explains, with unit-variance factors; shape (view, factor).

    Features without gaussian noise count on the scale of eta, where their likelihood has a variance of its own.
    """
    size = globals_.n_factors
    signal = {view: np.zeros(size) for view in layout.views}
    total = dict.fromkeys(layout.views, 0.0)
    for part, state in zip(layout.parts, globals_.parts, strict=True):
        square = np.square(state.mean[:, :size])
        signal[part.view] += square.sum(axis=0)
        residual = latent_variance(part, state.nuisance)
        if part.family.has_noise:
            count = np.maximum(part.n_observed, 1e-12)
            residual = residual * (count / state.tau).sum(axis=0) / count.sum(axis=0)
        total[part.view] += float(square.sum() + residual.sum())
    return np.stack([signal[view] / max(total[view], 1e-300) for view in layout.views])


def latent_variance(part: Part, nuisance: Array) -> Array:
    """Variance of each feature's likelihood on the scale of eta (of unit noise precision where there is noise).

    gaussian 1; student_t nu / (nu - 2) = 2; bernoulli pi^2 / 3 (logistic); categorical pi^2 / 6 (Gumbel utilities,
    McFadden 1974); ordinal 1 (normal); negative_binomial log(1 + 1/mean + 1/r) (Nakagawa, Johnson and Schielzeth 2017,
    J R Soc Interface 14:20170213); poisson by the delta method for its softplus link,
    rate / (exposure (1 - e^-rate)^2), rate being mean / exposure.
    """
    mean, ones = part.mean, np.ones_like(part.mean)
    match part.likelihood:
        case "bernoulli":
            return ones * np.pi**2 / 3
        case "categorical":
            return ones * np.pi**2 / 6
        case "student_t":
            return 2 * ones
        case "poisson":
            rate = np.maximum(mean / part.exposure, 1e-6)
            spread: Array = rate / (part.exposure * np.square(np.expm1(-rate)))
            return spread
        case "negative_binomial":
            result: Array = np.log1p(1 / np.maximum(mean, 1e-6) + 1 / nuisance)
            return result
        case _:
            return ones
