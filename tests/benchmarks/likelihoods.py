"""Does each likelihood find factors and predict better than a Gaussian? `python tests/benchmarks/likelihoods.py`.

300 subjects, one view of 60 features, two factors of moderate signal (70 % of loadings standard normal, the rest zero),
10 % of entries hidden. The same data are fitted under their own likelihood and as gaussian features: counts as they are
("gaussian") and as log(1 + count) ("log1p"), per unit of exposure where there is one. Compared are |r| of the true
factors with the fitted one each matches best, and the mean log predictive density of a hidden entry, log of the mean
over draws of p(y | eta).

For discrete data a density is not a probability. "density" is the normal density at y on the data's scale; "mass" is
the fairer P(y - 1/2 < Y < y + 1/2), tails included at the ends of the support, so that it adds up to 1 over it.
Categorical variables are taken as gaussian by one 0/1 column per level, and the "mass" of a level is its share of the
sum over levels of the normal density at that level's row of columns. A row holds when its smallest |r| is above 0.9 and
its likelihood's log density above the best of the Gaussian ones.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import expit, log_softmax, logsumexp, ndtr
from scipy.stats import bernoulli, nbinom, norm, poisson, t

import mofa_bayes as mb
from mofa_bayes.engines.vi.families import FAMILIES
from mofa_bayes.graph.likelihoods import DEGREES

N, D, K, HIDDEN = 300, 60, 2, 0.1
CUTS, N_LEVELS = np.array([-1.0, 0.0, 1.5]), 3


@dataclass(frozen=True)
class Case:
    """One likelihood: how data arise from eta, and log p(y | eta) of hidden entries under a fit.

    `draw` takes (eta, exposure (N, 1), rng), eta (N, D), or (N, D `n_levels`) where a variable has a column per level.
    `log_density` takes (y, eta, fit), eta of draws (S, cells), or (S, cells, `n_levels`).
    `largest` is the top of the support of discrete data, None where the data are real.
    """

    draw: Callable
    log_density: Callable
    largest: float | None = np.inf
    has_exposure: bool = False
    n_levels: int = 1

    @property
    def treatments(self):
        """Monotone maps of values per unit of exposure under which the data are taken as gaussian."""
        is_count = self.largest == np.inf and self.n_levels == 1
        return {"gaussian": np.asarray} | ({"log1p": np.log1p} if is_count else {})


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


def draw_levels(eta, rng):
    """Levels of largest utility, Gumbel errors, of variables whose columns of eta follow each other."""
    utility = (eta + rng.gumbel(size=eta.shape)).reshape(len(eta), -1, N_LEVELS)
    return utility.argmax(axis=2)


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
    "categorical": Case(
        lambda eta, exposure, rng: draw_levels(eta, rng),
        lambda y, eta, fit: log_softmax(eta, axis=2)[:, np.arange(len(y)), y.astype(int)],
        n_levels=N_LEVELS,
    ),
}


def simulate(case, seed):
    """Complete values, which of them are hidden, the factors, and the exposure of each subject."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((N, K))
    # Levels of a variable are zero together: softmax cannot tell which of them it was.
    w = rng.standard_normal((D * case.n_levels, K)) * np.repeat(rng.random((D, K)) < 0.7, case.n_levels, axis=0)
    exposure = rng.uniform(0.4, 2.5, N) if case.has_exposure else np.ones(N)
    y = np.asarray(case.draw(z @ w.T + rng.normal(0, 0.5, len(w)), exposure[:, None], rng), dtype=float)
    return y, rng.random(y.shape) < HIDDEN, z, exposure


def fit_and_predict(frame, cells, likelihood, n_levels, exposure):
    """Posterior, and draws of eta of the cells with what else a density needs."""
    exposures = None if exposure is None else {"v": pd.Series(exposure, frame.index)}
    views = mb.MultiView.from_frames({"v": frame}, likelihoods={"v": likelihood}, exposures=exposures)
    post = mb.fit(views, mb.FactorModel(n_factors=K), progress=False)
    n, d = cells
    columns = d[:, None] * n_levels + np.arange(n_levels)
    draws = post.tree["posterior"].to_dataset().isel(chain=0).sel(subject=frame.index)
    eta = np.einsum("sck,sclk->scl", draws["factors"].values[:, n], draws["loadings_v"].values[:, columns])
    eta += draws["intercept_v"].values[:, columns]

    def pick(values, *, where=columns):
        picked = values[..., where]
        return picked[..., 0] if n_levels == 1 else picked

    scaling, moments = post.tree["preprocessing"], post.tree["moments"]
    fit = Fit(
        exposure=np.ones(len(n)) if exposure is None else exposure[n],
        noise_sd=pick(draws["noise_sd_v"].values) if "noise_sd_v" in draws else None,
        center=pick(scaling["center_v"].values),
        scale=pick(scaling["scale_v"].values),
        nuisance=moments["nuisance_v"].values[d],
        levels=moments["levels_v"].values[d] if "levels_v" in moments else np.empty((len(n), 0)),
    )
    return post, pick(eta, where=slice(None)).astype(float), fit


def tabulate(values, hidden):
    names = [[f"{kind}{n:03d}" for n in range(size)] for kind, size in zip("pf", values.shape, strict=True)]
    return pd.DataFrame(values, *names).mask(hidden)


def indicate(y, hidden, n_levels):
    """One 0/1 column per level of each variable."""
    ones = (y[:, :, None] == np.arange(n_levels)).reshape(len(y), -1)
    return tabulate(ones.astype(float), np.repeat(hidden, n_levels, axis=1))


def average(log_density):
    """Mean over cells of the log of the mean over draws."""
    return float(np.mean(logsumexp(log_density, axis=0) - np.log(len(log_density))))


def correlate(post, z):
    """Largest |r| of each true factor, 0 where a fit kept none."""
    found = post.factor_moments().mean
    return np.abs(np.corrcoef(z.T, found.T)[:K, K:]).max(axis=1, initial=0)


def score_gaussian(case, transform, truth, eta, fit):
    """Log density and log mass of hidden values whose transform was taken as gaussian."""
    center, sd, units = fit.center + fit.scale * eta, fit.scale * fit.noise_sd, fit.exposure
    if case.n_levels > 1:
        rows = np.eye(case.n_levels)
        log_row = np.stack([norm.logpdf(row, center, sd).sum(axis=2) for row in rows], axis=2)
        return np.nan, average(log_softmax(log_row, axis=2)[:, np.arange(len(truth)), truth.astype(int)])
    slope = (1 / (1 + truth / units) if transform is np.log1p else 1) / units
    density = average(norm.logpdf(transform(truth / units), center, sd) + np.log(slope))
    if case.largest is None:
        return density, np.nan
    upper = np.where(truth >= case.largest, np.inf, transform((truth + 0.5) / units))
    lower = np.where(truth <= 0, -np.inf, transform(np.maximum(truth - 0.5, 0) / units))
    return density, average(log_mass((lower - center) / sd, (upper - center) / sd))


def measure(name, case, seed):
    """One row per treatment of one simulated data set."""
    y, hidden, z, exposure = simulate(case, seed)
    cells, truth = np.nonzero(hidden), y[hidden]
    own_exposure = exposure if case.has_exposure else None
    post, eta, fit = fit_and_predict(tabulate(y, hidden), cells, name, case.n_levels, own_exposure)
    own = average(case.log_density(truth, eta, fit))
    rows = [(name, name, seed, correlate(post, z).min(), own, own)]
    for treatment, transform in case.treatments.items():
        values = tabulate(transform(y / exposure[:, None]), hidden)
        frame = values if case.n_levels == 1 else indicate(y, hidden, case.n_levels)
        post, eta, fit = fit_and_predict(frame, cells, "gaussian", case.n_levels, None)
        fit = replace(fit, exposure=exposure[cells[0]])
        rows.append(
            (name, treatment, seed, correlate(post, z).min(), *score_gaussian(case, transform, truth, eta, fit))
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--cases", default=",".join(name for name in CASES if name in FAMILIES), help=f"some of {', '.join(CASES)}"
    )
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
