"""Do intervals of effects cover when factors are fitted too? `python tests/benchmarks/risk_whole.py --replicates 200`.

A cohort of 300 patients: factors z ~ N(0, C), correlated .4 where there are three; views of gaussian features y = z w'
+ noise, whose noise is such that z would be known with the reliability asked for if loadings were known,
1 - V_kk = w'w / (w'w + noise variance); an outcome whose predictor is b'z, with b = (effect, effect / 2, 0). The factor
model is fitted (`--engine vi` or gibbs), then the risk model by each method, with importance sampling.

What an interval must cover. Fitted factors are z turned, scaled and not quite right, so an effect b_k has no true value
as it stands. It says by how much the predictor differs between patients who differ by one unit of the fitted factor
k. That is the regression of the true predictor b'z on the fitted factors' means in the population, taken from 4,000
new patients who are projected: the column `covered`. With one factor, and loadings that are nearly known, this is the
effect itself in units of the factor's sd in the cohort, times its sign: the column `of_known`.

Methods: marginal, plugin, cut; draws: joint draws of the loadings weighted by evidence (`post.project_draws`).
One process, one thread: 200 replicates of a
setting take 2 to 4 minutes. Nothing is saved.
"""

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

import mofa_bayes as mb
from mofa_bayes.risk import Binary, Compiled, Continuous, Count, RiskModel, Survival

FAMILIES = {
    "weibull": Survival("time", "event", baseline="weibull"),
    "piecewise": Survival("time", "event", baseline="piecewise_exponential"),
    "survival": Survival("time", "event"),
    "binary": Binary("dead"),
    "continuous": Continuous("score"),
    "count": Count("visits"),
}
METHODS = ("marginal", "plugin", "cut")
N_SUBJECTS, N_NEW, CORRELATION = 300, 4000, 0.4


def simulate(seed, n_factors, n_features, reliability, effect):
    """Return views and clinical table of a cohort, views and true predictor of new patients, and true factors."""
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
    censored = rng.uniform(6, 72, size=n_all)
    names = [f"p{n:04d}" for n in range(n_all)]
    clinical = pd.DataFrame(
        {
            "time": np.minimum(died, censored),
            "event": (died <= censored).astype(int),
            "dead": (rng.uniform(size=n_all) < 1 / (1 + np.exp(-predictor))).astype(int),
            "score": predictor + rng.normal(size=n_all),
            "visits": rng.poisson(np.exp(0.5 + predictor)),
        },
        index=names,
    )
    table = pd.DataFrame(x, index=names, columns=[f"f{d}" for d in range(n_features)])
    halves = {"one": table.iloc[:, ::2], "two": table.iloc[:, 1::2]}
    views = mb.MultiView.from_frames({name: half.iloc[:N_SUBJECTS] for name, half in halves.items()})
    new = {name: half.iloc[N_SUBJECTS:] for name, half in halves.items()}
    return views, clinical.iloc[:N_SUBJECTS], new, predictor[N_SUBJECTS:], z[:N_SUBJECTS], effects


def find_truth(post, new, predictor):
    """Regress the true predictor of new patients on the means of their projected factors, (factor,)."""
    moments = post.project(new)
    order = [int(name[1:]) - N_SUBJECTS for name in moments.subjects]
    centred = moments.mean - moments.mean.mean(axis=0)
    return np.linalg.lstsq(centred, predictor[order] - predictor.mean(), rcond=None)[0]


def fit_factors(views, n_factors, engine, seed):
    """Fit the factor model with as many factors as there are."""
    spec = mb.FactorModel(n_factors=n_factors, min_variance=0.0, loadings=mb.ARD())
    settings = mb.Sampling(n_draws=300, n_tune=300, n_chains=2, n_jobs=1) if engine == "gibbs" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mb.fit(views, spec, engine=engine, seed=seed, settings=settings, progress=False)


def read_factors(post, views, method, options):
    """Return the factors as a method takes them."""
    if method == "draws":
        return post.project_draws(views, n_draws=options.loadings)
    return post


def estimate(seed, setting, options, compiled):
    """Fit everything to one cohort: one row for each family, method and factor."""
    views, clinical, new, predictor, z, effects = simulate(seed, *setting)
    post = fit_factors(views, setting[0], options.engine, seed)
    truth, mean = find_truth(post, new, predictor), post.factor_moments().mean
    rows = []
    for family in options.families:
        for method in options.methods:
            started = time.process_time()
            model = RiskModel(FAMILIES[family], method=method if method in METHODS else "marginal")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                factors = read_factors(post, views, method, options)
                chains = {"n_draws": 200, "n_chains": 1} if method == "cut" else {"n_draws": options.draws}
                fitted = model.fit(factors, clinical, seed=seed, sampler="importance", compiled=compiled, **chains)
            seconds = time.process_time() - started
            table = fitted.effects()
            known = np.full(len(table), np.nan)
            if setting[0] == 1:
                known[:] = effects[0] * z.std() * np.sign(np.corrcoef(mean[:, 0], z[:, 0])[0, 1])
            attributes = fitted.tree.attrs
            for k, row in table.iterrows():
                rows.append(
                    {
                        "family": family,
                        "method": method,
                        "covered": row["lower"] <= truth[k] <= row["upper"],
                        "bias": (row["mean"] - truth[k]) * np.sign(truth[k]),
                        "of_known": np.nan if np.isnan(known[k]) else row["lower"] <= known[k] <= row["upper"],
                        "width": row["upper"] - row["lower"],
                        "size": abs(truth[k]),
                        "nuts": attributes["sampler"] == "nuts",
                        "k_loadings": attributes.get("loadings_pareto_k", np.nan),
                        "n_loadings": attributes.get("loadings_n_effective", np.nan),
                        "seconds": seconds,
                    }
                )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("`")[0])
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--families", nargs="+", default=["weibull", "binary"], help=", ".join(FAMILIES))
    parser.add_argument("--methods", nargs="+", default=["marginal", "plugin"], help="marginal plugin cut draws")
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 3], help="1 or 3")
    parser.add_argument("--features", type=int, nargs="+", default=[20])
    parser.add_argument("--reliability", type=float, nargs="+", default=[0.5, 0.8, 0.95])
    parser.add_argument("--effects", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--engine", default="vi", help="vi or gibbs")
    parser.add_argument("--loadings", type=int, default=50, help="draws of the loadings, of method draws")
    parser.add_argument("--draws", type=int, default=500, help="of each of four chains; a quarter are effective")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with threadpool_limits(1):
        run(options)


def run(options):
    """Print one table for each setting."""
    started, compiled = time.perf_counter(), Compiled()
    print(f"N = {N_SUBJECTS}, factors by {options.engine}, 95 % intervals, {options.replicates} cohorts a setting")
    for n_factors in options.factors:
        for n_features in options.features:
            for reliability in options.reliability:
                for effect in options.effects:
                    setting = (n_factors, n_features, reliability, effect)
                    rows = [
                        row
                        for r in range(options.replicates)
                        for row in estimate(options.seed + r, setting, options, compiled)
                    ]
                    table = pd.DataFrame(rows).astype({"of_known": float}).groupby(["family", "method"], sort=False)
                    print(f"\nK = {n_factors}, D = {n_features}, reliability {reliability:g}, effect {effect:g}")
                    print(table.mean().dropna(axis=1, how="all").round(3).to_string(), flush=True)
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
