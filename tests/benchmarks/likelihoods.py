"""Does each likelihood find factors and predict better than a Gaussian? `python tests/benchmarks/likelihoods.py`.

300 subjects, one view of 60 features, two factors of moderate signal (70 % of loadings standard normal, the rest zero),
10 % of entries hidden. The same data are fitted under their own likelihood and as gaussian features: counts as they are
("gaussian") and as log(1 + count) ("log1p"), per unit of exposure where there is one. Compared are |r| of the true
factors with the fitted one each matches best, and the mean log predictive density of a hidden entry, log of the mean
over draws of p(y | eta).

For discrete data a density is not a probability. "density" is the normal density at y on the data's scale; "mass" is
the fairer P(y - 1/2 < Y < y + 1/2), tails included at the ends of the support, so that it adds up to 1 over it. A row
holds when its smallest |r| is above 0.9 and its likelihood's log density above the best of the Gaussian ones.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, logsumexp, ndtr
from scipy.stats import bernoulli, nbinom, norm, poisson, t

import mofa_bayes as mb
from mofa_bayes.engines.vi.families.student_t import DEGREES

N, D, K, HIDDEN = 300, 60, 2, 0.1
CUTS = np.array([-1.0, 0.0, 1.5])


@dataclass(frozen=True)
class Case:
    """One likelihood: how data arise from eta, and log p(y | eta) of hidden entries under a fit.

    `draw` takes (eta (N, D), exposure (N, 1), rng). `log_density` takes (y, eta, fit), eta of draws (S, cells).
    `largest` is the top of the support of discrete data, None where the data are real.
    """

    draw: Callable
    log_density: Callable
    largest: float | None = np.inf
    has_exposure: bool = False

    @property
    def treatments(self):
        """Monotone maps of values per unit of exposure under which the data are taken as gaussian."""
        identity = {"gaussian": np.asarray}
        return identity | {"log1p": np.log1p} if self.largest == np.inf else identity


@dataclass(frozen=True)
class Fit:
    """What log p(y | eta) of some hidden cells may need beside eta, by cell."""

    exposure: np.ndarray
    noise_sd: np.ndarray | None
    center: np.ndarray
    scale: np.ndarray
    nuisance: np.ndarray
    levels: np.ndarray


def log_mass(lower, upper):
    """Log of the standard normal's probability between two points, on the side where it does not cancel."""
    flip = lower > 0
    low, high = np.where(flip, -upper, lower), np.where(flip, -lower, upper)
    return np.log(np.maximum(ndtr(high) - ndtr(low), 1e-300))


def ordinal_mass(y, eta, fit):
    cuts = fit.levels * fit.nuisance[:, None]
    cell, level = np.arange(len(y)), y.astype(int)
    return log_mass(cuts[cell, level] - eta, cuts[cell, level + 1] - eta)


CASES = {
    "student_t": Case(
        lambda eta, exposure, rng: eta + rng.standard_t(3, eta.shape),
        lambda y, eta, fit: t.logpdf(y, DEGREES, fit.center + fit.scale * eta, fit.scale * fit.noise_sd),
        largest=None,
    ),
    "bernoulli": Case(
        lambda eta, exposure, rng: rng.random(eta.shape) < expit(eta),
        lambda y, eta, fit: bernoulli.logpmf(y, expit(eta)),
        largest=1,
    ),
    "poisson": Case(
        lambda eta, exposure, rng: rng.poisson(exposure * np.logaddexp(0, eta + 1)),
        lambda y, eta, fit: poisson.logpmf(y, fit.exposure * np.logaddexp(0, eta)),
        has_exposure=True,
    ),
    "negative_binomial": Case(
        lambda eta, exposure, rng: rng.poisson(rng.gamma(3, 1 / 3, eta.shape) * exposure * np.exp(eta / 2 + 1)),
        lambda y, eta, fit: nbinom.logpmf(
            y, fit.nuisance, fit.nuisance / (fit.nuisance + fit.exposure * np.exp(np.minimum(eta, 30)))
        ),
        has_exposure=True,
    ),
    "ordinal": Case(
        lambda eta, exposure, rng: np.digitize(eta + rng.standard_normal(eta.shape), CUTS),
        ordinal_mass,
        largest=len(CUTS),
    ),
}


def simulate(case, seed):
    """Complete values, which of them are hidden, the factors, and the exposure of each subject."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((N, K))
    w = rng.standard_normal((D, K)) * (rng.random((D, K)) < 0.7)
    exposure = rng.uniform(0.4, 2.5, N) if case.has_exposure else np.ones(N)
    y = case.draw(z @ w.T + rng.normal(0, 0.5, D), exposure[:, None], rng)
    return np.asarray(y, dtype=float), rng.random((N, D)) < HIDDEN, z, exposure


def fit_and_predict(values, hidden, likelihood, exposure=None):
    """Posterior, and draws of eta (S, cells) of the hidden cells with what else a density needs."""
    names = [f"p{n:03d}" for n in range(N)]
    frame = pd.DataFrame(values, names, [f"f{d:02d}" for d in range(D)]).mask(hidden)
    exposures = None if exposure is None else {"v": pd.Series(exposure, names)}
    views = mb.MultiView.from_frames({"v": frame}, likelihoods={"v": likelihood}, exposures=exposures)
    post = mb.fit(views, mb.FactorModel(n_factors=K), progress=False)
    n, d = np.nonzero(hidden)
    draws = post.tree["posterior"].to_dataset().isel(chain=0).sel(subject=names)
    factors, loadings = draws["factors"].values[:, n], draws["loadings_v"].values[:, d]
    eta = np.einsum("sck,sck->sc", factors, loadings) + draws["intercept_v"].values[:, d]
    scaling, moments = post.tree["preprocessing"], post.tree["moments"]
    fit = Fit(
        exposure=np.ones(len(n)) if exposure is None else exposure[n],
        noise_sd=draws["noise_sd_v"].values[:, d] if "noise_sd_v" in draws else None,
        center=scaling["center_v"].values[d],
        scale=scaling["scale_v"].values[d],
        nuisance=moments["nuisance_v"].values[d],
        levels=moments["levels_v"].values[d] if "levels_v" in moments else np.empty((len(n), 0)),
    )
    return post, eta.astype(float), fit


def average(log_density):
    """Mean over cells of the log of the mean over draws."""
    return float(np.mean(logsumexp(log_density, axis=0) - np.log(len(log_density))))


def correlate(post, z):
    """Largest |r| of each true factor, 0 where a fit kept none."""
    found = post.factor_moments().sel([f"p{n:03d}" for n in range(N)]).mean
    return np.abs(np.corrcoef(z.T, found.T)[:K, K:]).max(axis=1, initial=0)


def measure(name, case, seed):
    """One row per treatment of one simulated data set."""
    y, hidden, z, exposure = simulate(case, seed)
    truth, units = y[hidden], np.broadcast_to(exposure[:, None], y.shape)[hidden]
    post, eta, fit = fit_and_predict(y, hidden, name, exposure if case.has_exposure else None)
    own = average(case.log_density(truth, eta, fit))
    rows = [(name, name, seed, correlate(post, z).min(), own, own)]
    for treatment, transform in case.treatments.items():
        post, eta, fit = fit_and_predict(transform(y / exposure[:, None]), hidden, "gaussian")
        center, sd = fit.center + fit.scale * eta, fit.scale * fit.noise_sd
        slope = (1 if treatment == "gaussian" else 1 / (1 + truth / units)) / units
        density = average(norm.logpdf(transform(truth / units), center, sd) + np.log(slope))
        mass = np.nan
        if case.largest is not None:
            upper = np.where(truth >= case.largest, np.inf, transform((truth + 0.5) / units))
            lower = np.where(truth <= 0, -np.inf, transform(np.maximum(truth - 0.5, 0) / units))
            mass = average(log_mass((lower - center) / sd, (upper - center) / sd))
        rows.append((name, treatment, seed, correlate(post, z).min(), density, mass))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cases", default=",".join(CASES), help=f"some of {', '.join(CASES)}")
    options = parser.parse_args()
    print(f"{'data':18s}{'treatment':19s}{'smallest |r|':>13s}{'density':>10s}{'mass':>10s}   seeds where it is best")
    for name in options.cases.split(","):
        columns = ["data", "treatment", "seed", "r", "density", "mass"]
        rows = [row for seed in range(options.seeds) for row in measure(name, CASES[name], seed)]
        table = pd.DataFrame(rows, columns=columns)
        best = table.assign(top=table[["density", "mass"]].max(axis=1))
        wins = best.loc[best.groupby("seed")["top"].idxmax(), "treatment"].value_counts()
        for treatment, own in table.groupby("treatment", sort=False):
            print(
                f"{name:18s}{treatment:19s}{own['r'].min():13.3f}{own['density'].mean():10.3f}{own['mass'].mean():10.3f}"
                f"   {wins.get(treatment, 0)} of {options.seeds}",
                flush=True,
            )


if __name__ == "__main__":
    main()
