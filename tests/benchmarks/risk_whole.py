"""Do intervals of effects cover when factors are fitted too? `python tests/benchmarks/risk_whole.py --replicates 200`.

A cohort of 300 patients: factors z ~ N(0, C), correlated .4 where there are three; views of gaussian features y = z w'
+ noise, whose noise is such that z would be known with the reliability asked for if loadings were known,
1 - V_kk = w'w / (w'w + noise variance); an outcome whose predictor is b'z, with b = (effect, effect / 2, 0). The factor
model is fitted (by each of `--engines`), then the risk model by each method, with importance sampling.

What an interval must cover. With C the covariance of the true factors over the cohort and z = C^1/2 u, the cohort is
one of the model's own with factors u of unit variance, as fitted ones are, loadings W C^1/2 and effects C^1/2 b, in a
basis that nothing fixes. The truth is brought to the fitted factors as any draw is: the rotation Q' that best maps
W C^1/2 to the mean of the fitted loadings (Schoenemann, 1966) maps C^1/2 b too. `slope` is that of the true predictor
on the predicted one, over 4,000 new patients who are projected (1 where predictions are calibrated).

Methods: marginal, plugin, cut; draws: joint draws of the loadings weighted by evidence (`post.project_draws`).
A cohort takes 2 s of gibbs, and each fit .1 to 1 s (competing risks 3 s), but 20 s and more where importance sampling
is not to be trusted and NUTS takes over (`nuts`). Nothing is saved.
"""

import argparse
import itertools
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

import mofa_bayes as mb
from mofa_bayes.risk import Binary, CompetingRisks, Compiled, Continuous, Count, Ordinal, RiskModel, Survival

FAMILIES = {
    "weibull": Survival("time", "event", baseline="weibull"),
    "piecewise": Survival("time", "event", baseline="piecewise_exponential"),
    "survival": Survival("time", "event"),
    "binary": Binary("dead"),
    "continuous": Continuous("score"),
    "count": Count("visits"),
    "ordinal": Ordinal("grade", levels=["1", "2", "3", "4"]),
    "competing": CompetingRisks("first", "cause", causes={1: "event", 2: "other"}, baseline="weibull"),
}
"""`other` has the opposite effects of `event`."""
METHODS = ("marginal", "plugin", "cut")
N_SUBJECTS, N_NEW, CORRELATION = 300, 4000, 0.4


def simulate(seed, n_factors, n_features, reliability, effect):
    """Return a cohort's views and clinical table, new patients' views and true predictor, and what a fit should find.

    That is loadings of uncorrelated factors by view, and their effects.
    """
    rng = np.random.default_rng(seed)
    n_all = N_SUBJECTS + N_NEW
    between = CORRELATION + (1 - CORRELATION) * np.eye(n_factors)
    z = rng.multivariate_normal(np.zeros(n_factors), between, size=n_all)
    w = rng.normal(size=(n_features, n_factors))
    noise = np.sqrt(np.square(w).sum(axis=0).mean() * (1 - reliability) / reliability)
    x = z @ w.T + noise * rng.normal(size=(n_all, n_features))
    effects = np.array([effect, effect / 2, 0.0])[:n_factors]
    predictor = z @ effects
    died = 30 * (rng.exponential(size=n_all) * np.exp(-predictor)) ** (1 / 1.2)
    other = 60 * (rng.exponential(size=n_all) * np.exp(predictor)) ** (1 / 1.2)
    censored = rng.uniform(6, 72, size=n_all)
    liability = predictor + rng.logistic(size=n_all)
    names = [f"p{n:04d}" for n in range(n_all)]
    clinical = pd.DataFrame(
        {
            "time": np.minimum(died, censored),
            "event": (died <= censored).astype(int),
            "dead": (rng.uniform(size=n_all) < 1 / (1 + np.exp(-predictor))).astype(int),
            "score": predictor + rng.normal(size=n_all),
            "first": np.minimum.reduce([died, other, censored]),
            "cause": np.argmin([censored, died, other], axis=0),
            "grade": np.digitize(liability, [-1.5, 0.0, 1.5]) + 1,
            "visits": rng.poisson(np.exp(0.5 + predictor)),
        },
        index=names,
    ).astype({"grade": str})
    table = pd.DataFrame(x, index=names, columns=[f"f{d}" for d in range(n_features)])
    halves = {"one": table.iloc[:, ::2], "two": table.iloc[:, 1::2]}
    views = mb.MultiView.from_frames({name: half.iloc[:N_SUBJECTS] for name, half in halves.items()})
    new = {name: half.iloc[N_SUBJECTS:] for name, half in halves.items()}
    half = np.linalg.cholesky(np.cov(z[:N_SUBJECTS].T).reshape(n_factors, n_factors))
    own = {name: pd.DataFrame(w @ half, index=table.columns).loc[part.columns] for name, part in halves.items()}
    return views, clinical.iloc[:N_SUBJECTS], new, predictor[N_SUBJECTS:], own, half.T @ effects


def turn_effects(post, loadings, effects):
    """Bring the true effects, (factor,), to the basis of the fitted factors by orthogonal Procrustes."""
    cross = np.zeros((len(effects), len(effects)))
    for view, true in loadings.items():
        fitted = post.loadings(view).mean(("chain", "draw"))
        cross += true.loc[fitted[f"feature_{view}"].to_numpy()].to_numpy().T @ fitted.to_numpy()
    left, _, right = np.linalg.svd(cross)
    return effects @ (left @ right)


def fit_factors(views, n_factors, engine, seed):
    """Fit the factor model with as many factors as there are."""
    spec = mb.FactorModel(n_factors=n_factors, min_variance=0.0, loadings=mb.ARD())
    settings = mb.Sampling(n_draws=300, n_tune=300, n_chains=2, n_jobs=1) if engine == "gibbs" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mb.fit(views, spec, engine=engine, seed=seed, settings=settings, progress=False)


@cache
def compiled_here():
    """What a process has compiled, for the cohorts to come."""
    return Compiled()


def estimate(seed, setting, options):
    """Fit everything to one cohort: one row for each size of effects, engine, family, method and factor."""
    rows, posts = [], {}
    for effect, engine in itertools.product(options.effects, options.engines):
        views, clinical, new, predictor, own, effects = simulate(seed, *setting, effect)
        if engine not in posts:  # views do not depend on effects
            posts[engine] = fit_factors(views, setting[0], engine, seed)
        post = posts[engine]
        truth = turn_effects(post, own, effects)
        projected = post.project(new)
        order = [int(name[1:]) - N_SUBJECTS for name in projected.subjects]
        for family, method in itertools.product(options.families, options.methods):
            if method == "draws" and engine == "vi":
                continue
            table, about = fit_risk(post, views, clinical, family, method, seed, options)
            slope = np.polyfit(projected.mean @ table["mean"].to_numpy()[: len(truth)], predictor[order], 1)[0]
            all_true = np.concatenate([truth, -truth]) if family == "competing" else truth
            for (_, row), true in zip(table.iterrows(), all_true, strict=True):
                rows.append(
                    {
                        "effect": effect,
                        "family": family,
                        "engine": engine,
                        "method": method,
                        "covered": row["lower"] <= true <= row["upper"],
                        "bias": (row["mean"] - true) * np.sign(true),
                        "size": abs(true),
                        "width": row["upper"] - row["lower"],
                        "slope": slope,
                        **about,
                    }
                )
    return rows


def fit_risk(post, views, clinical, family, method, seed, options):
    """Return the table of effects, and how the fit went."""
    started = time.process_time()
    model = RiskModel(FAMILIES[family], method=method if method in METHODS else "marginal")
    chains = {"n_draws": 200, "n_chains": 1} if method == "cut" else {"n_draws": options.draws}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        factors = post.project_draws(views, n_draws=options.loadings) if method == "draws" else post
        fitted = model.fit(factors, clinical, seed=seed, sampler="importance", compiled=compiled_here(), **chains)
    found = fitted.tree.attrs
    about = {
        "nuts": found["sampler"] == "nuts",
        "k_loadings": found.get("loadings_pareto_k", np.nan),
        "seconds": time.process_time() - started,
    }
    return fitted.effects(), about


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("`")[0])
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--methods", nargs="+", default=["marginal", "plugin"], help="marginal plugin cut draws")
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 3], help="1 or 3")
    parser.add_argument("--features", type=int, nargs="+", default=[20])
    parser.add_argument("--reliability", type=float, nargs="+", default=[0.5, 0.8, 0.95])
    parser.add_argument("--effects", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--engines", nargs="+", default=["vi", "gibbs"])
    parser.add_argument("--loadings", type=int, default=50, help="draws of the loadings, of method draws")
    parser.add_argument("--draws", type=int, default=500, help="of each of four chains; a quarter are effective")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes over cohorts")
    run(parser.parse_args())


def run(options):
    """Print one table for each setting."""
    started = time.perf_counter()
    print(f"N = {N_SUBJECTS}, 95 % intervals, {options.replicates} cohorts a setting")
    seeds = range(options.seed, options.seed + options.replicates)
    workers = {"mp_context": get_context("spawn"), "initializer": threadpool_limits, "initargs": (1,)}
    with ProcessPoolExecutor(options.jobs, **workers) as pool:
        for setting in itertools.product(options.factors, options.features, options.reliability):
            each = pool.map(estimate, seeds, itertools.repeat(setting), itertools.repeat(options))
            table = pd.DataFrame(list(itertools.chain.from_iterable(each)))
            for effect, rows in table.groupby("effect"):
                print("\nK = {}, D = {}, reliability {:g}, effect {:g}".format(*setting, effect))
                means = rows.drop(columns="effect").groupby(["family", "engine", "method"], sort=False).mean()
                print(means.dropna(axis=1, how="all").round(3).to_string(), flush=True)
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
