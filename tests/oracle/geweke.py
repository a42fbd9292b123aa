"""Geweke's joint distribution test (2004, JASA 99:799): the oracle for every conditional draw and every move.

Draw a point from the prior and data given it; then alternate a sweep of the engine with new data given the point. If
and only if the sweep leaves the posterior invariant, every function of point and data keeps the mean that it has under
the prior. The prior is drawn here, in NumPy, from the model's definition; no code of the engine is used for it.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import expit

import mofa_bayes as mb
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.engines.gibbs.above import HorseshoeAbove, LaplaceAbove, SpikeSlabAbove
from mofa_bayes.engines.gibbs.state import first_point, pose
from mofa_bayes.engines.gibbs.sweep import sweep
from mofa_bayes.engines.vi.known import find_known
from mofa_bayes.engines.vi.layout import lay_out

TIGHT = mb.Gamma(shape=4.0, rate=3.0)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A tiny model: two views, of which the second has the likelihood asked for in its last columns."""

    prior: object
    likelihood: str = "gaussian"
    factors: object = mb.StandardFactors()
    n_factors: int = 2
    n_subjects: int = 7
    is_known: bool = False
    missing: float = 0.0
    second: object = None

    def spec(self):
        views = {} if self.second is None else {"b": mb.ViewModel(loadings=self.second)}
        return mb.FactorModel(
            n_factors=self.n_factors, loadings=self.prior, factors=self.factors, noise=TIGHT, intercept_scale=0.7,
            scale="none", views=views,
        )  # fmt: skip

    def views(self):
        """Placeholder data of the right shape, likelihood and missing entries."""
        rng = np.random.default_rng(5)
        subjects = [f"p{n}" for n in range(self.n_subjects)]
        frames = {
            view: pd.DataFrame(rng.standard_normal((self.n_subjects, n)), subjects, [f"{view}{d}" for d in range(n)])
            for view, n in (("a", 4), ("b", 3))
        }
        columns = frames["b"].columns[-2:]
        if self.likelihood in ("bernoulli", "poisson", "negative_binomial"):
            frames["b"][columns] = (frames["b"][columns] > 0).astype(float)
            frames["b"].iloc[:2, 1:] = [[0.0, 1.0], [1.0, 0.0]]
        if self.missing:
            frames["a"] = frames["a"].mask(rng.random(frames["a"].shape) < self.missing)
            frames["b"] = frames["b"].drop(subjects[3]).mask(rng.random((self.n_subjects - 1, 3)) < self.missing / 2)
        known = {}
        if self.is_known:
            known["groups"] = (
                pd.Series(["x", "y"] * self.n_subjects, dtype=str).iloc[: self.n_subjects].set_axis(subjects)
            )
            known["covariates"] = pd.DataFrame({"age": rng.standard_normal(self.n_subjects)}, subjects)
            if self.likelihood in ("poisson", "negative_binomial"):
                known["exposures"] = {"b": pd.Series(rng.uniform(0.4, 2.5, self.n_subjects), subjects)}
        return mb.MultiView.from_frames(frames, likelihoods={"b": dict.fromkeys(columns, self.likelihood)}, **known)

    def problem(self):
        """Lay out the views; return the problem and the mask of observed entries by block and part."""
        views, spec = self.views(), self.spec()
        preprocessing = fit_preprocessing(views, dict.fromkeys(views.names, "none"))
        layout = lay_out(views, preprocessing, find_known(views, preprocessing))
        seen = {view: views[view].to_pandas().notna() for view in views.names}
        masks = [
            {
                number: seen[layout.parts[number].view]
                .loc[[layout.subjects[n] for n in block.rows], list(layout.parts[number].features)]
                .to_numpy()
                for number in block.cells
            }
            for block in layout.blocks
        ]
        return pose(layout, spec), masks


def draw_gamma(prior, rng, shape):
    return rng.gamma(prior.shape, 1 / prior.rate, shape)


def draw_view(above, prior, n_features, rng):
    n_factors = above.precision.shape[1]
    shape = (n_features, n_factors)
    slab = rng.standard_normal(shape)
    if isinstance(prior, mb.Laplace):
        rate = draw_gamma(prior.rate, rng, n_factors)
        variance = rng.exponential(2 / rate**2, shape)
        above, w = LaplaceAbove(prior.rate, rate, 1 / variance), slab * np.sqrt(variance)
    elif isinstance(prior, mb.Normal):
        w = slab * prior.scale
    else:
        alpha = draw_gamma(prior.precision, rng, n_factors)
        w = slab / np.sqrt(alpha)
        if isinstance(prior, mb.Horseshoe):
            local = np.abs(rng.standard_cauchy(shape))
            above, w = HorseshoeAbove(prior.precision, alpha, local**-2), w * local
        elif isinstance(prior, mb.SpikeSlab):
            theta = rng.beta(prior.inclusion_a, prior.inclusion_b, n_factors)
            above, w = SpikeSlabAbove(prior, alpha, theta), w * (rng.random(shape) < theta)
        else:
            above = replace(above, alpha=alpha)
    return above, np.abs(w) if prior.positive else w


def draw_prior(problem, template, rng):
    """Draw a point from the prior."""
    layout, spec = problem.layout, problem.spec
    n_factors, n_groups = spec.n_factors, len(layout.groups)
    beta = np.ones((n_groups, n_factors))
    if spec.factors.is_learned:
        beta = draw_gamma(spec.factors.precision, rng, beta.shape)
    factors = rng.standard_normal(template.factors.shape)
    for block in layout.blocks:
        factors[block.rows] /= np.sqrt(beta[block.group])
    above, parts = {}, [None] * len(layout.parts)
    for view, own in template.above.items():
        numbers = problem.view_of[view]
        widths = [layout.parts[number].n_features for number in numbers]
        above[view], w = draw_view(own, spec.loadings_of(view), sum(widths), rng)
        for number, mine in zip(numbers, np.split(w, np.cumsum(widths)[:-1]), strict=True):
            known = spec.intercept_scale * rng.standard_normal((len(mine), layout.n_known))
            part = layout.parts[number]
            tau = (
                draw_gamma(spec.noise, rng, (n_groups, len(mine)))
                if part.family.has_noise
                else np.ones((n_groups, len(mine)))
            )
            nuisance = (
                rng.exponential(10.0, len(mine)) if part.likelihood == "negative_binomial" else np.ones(len(mine))
            )
            parts[number] = replace(
                template.parts[number], terms=np.column_stack([mine, known]), tau=tau, nuisance=nuisance
            )
    return replace(template, factors=factors, parts=tuple(parts), above=above, factor_precision=beta)


def draw_data(problem, masks, point, rng):
    """Fill the layout's cells, in place, with data given a point."""
    layout = problem.layout
    for part in layout.parts:
        part.sum_squares[:] = 0
    for block, seen in zip(layout.blocks, masks, strict=True):
        terms = np.column_stack([point.factors[block.rows], block.design])
        for number, cells in block.cells.items():
            part, own = layout.parts[number], point.parts[number]
            eta = terms @ own.terms.T
            y = np.where(seen[number], draw_values(part, own, eta, block, cells, rng), 0.0)
            cells.values.y[:] = y
            part.sum_squares[block.group] += (y**2).sum(axis=0)


def draw_values(part, own, eta, block, cells, rng):
    sd = own.tau[block.group] ** -0.5
    exposure = np.exp(cells.values.log_exposure)[:, None]
    match part.likelihood:
        case "gaussian":
            return eta + sd * rng.standard_normal(eta.shape)
        case "student_t":
            return eta + sd * rng.standard_t(4, eta.shape)
        case "bernoulli":
            return rng.random(eta.shape) < expit(eta)
        case "poisson":
            return rng.poisson(exposure * np.logaddexp(0, eta))
        case "negative_binomial":
            return rng.poisson(
                np.minimum(
                    rng.gamma(own.nuisance, size=eta.shape) * exposure * np.exp(np.minimum(eta, 30.0)) / own.nuisance,
                    1e9,
                )
            )
    raise AssertionError


def squash(x):
    return x / (1 + np.abs(x))


def summarise(problem, point):
    """Functions of point and data that have finite variance under every prior."""
    layout, k = problem.layout, point.n_factors
    found = {"z": squash(point.factors).mean(), "z2": squash(point.factors**2).mean()}
    found["zz"] = squash(np.prod(point.factors, axis=1)).mean()
    found["beta"] = np.log(point.factor_precision).mean()
    for view, own in point.above.items():
        w = point.loadings(layout, view)
        found |= {f"w_{view}": squash(w).mean(), f"w2_{view}": squash(w**2).mean()}
        found |= {f"ww_{view}": squash(np.prod(w, axis=1)).mean(), f"w12_{view}": squash(w[0] * w[1]).mean()}
        found |= {f"zero_{view}": (w == 0).mean(), f"p_{view}": np.log(own.precision).mean()}
        found |= {f"{name}_{view}": np.log(values).mean() for name, values in own.record().items()}
    for number, own in enumerate(point.parts):
        known = own.terms[:, k:]
        found |= {f"mu_{number}": known.mean(), f"mu2_{number}": (known**2).mean()}
        found |= {f"tau_{number}": np.log(own.tau).mean(), f"r_{number}": np.log(own.nuisance).mean()}
        found |= {f"taumu_{number}": squash(own.tau[0] * known[:, 0]).mean()}
        y_eta, y_square, eta_square = [], [], []
        for block in layout.blocks:
            if number in block.cells:
                eta = np.column_stack([point.factors[block.rows], block.design]) @ own.terms.T
                y = block.cells[number].values.y
                y_eta.append(squash(y * eta).mean())
                y_square.append(squash(y**2).mean())
                eta_square.append(squash(eta).mean())
        found |= {
            f"yeta_{number}": np.mean(y_eta),
            f"y2_{number}": np.mean(y_square),
            f"eta_{number}": np.mean(eta_square),
        }
    return found


def geweke(case, *, n_chains, n_sweeps, n_prior=4000, seed=0, step=sweep):
    """z-scores of the means of all functions, between prior draws and chains that start from the prior."""
    rng = np.random.default_rng(seed)
    problem, masks = case.problem()
    template = first_point(problem.layout, problem.spec)
    prior = []
    for _ in range(n_prior):
        point = draw_prior(problem, template, rng)
        draw_data(problem, masks, point, rng)
        prior.append(summarise(problem, point))
    chains = []
    for _ in range(n_chains):
        point = draw_prior(problem, template, rng)
        own = []
        for _ in range(n_sweeps):
            draw_data(problem, masks, point, rng)
            point = step(problem, point, rng)
            own.append(summarise(problem, point))
        chains.append(pd.DataFrame(own).mean())
    prior, chains = pd.DataFrame(prior), pd.DataFrame(chains)
    error = np.sqrt(prior.var() / len(prior) + chains.var() / len(chains))
    return ((chains.mean() - prior.mean()) / error.where(error > 1e-12)).dropna()
