"""Responses to drugs of held-out cell lines: `PYTHONPATH=. python tests/benchmarks/drug_response.py [--drugs 10]`.

GDSC/CCLE (shared/data): 580 lines with expression, copy numbers and mutations; ln(IC50) of the drugs that most lines
were tested with. Five folds of lines. Ours are factors of the three views (`--factors`), fitted again in each fold, and
one MultiContinuous risk model of all drugs. Ridge regression (penalty by leave-one-out on the training lines) and a
random forest of 300 trees get all features side by side, standardised, one drug at a time. The table shows R^2 over
held-out lines by drug, and how often our 95 % predictive interval holds the response (93 to 97 % is asked for).
"""

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import mofa_bayes as mb

VIEWS = ("expression", "copy_number", "mutation")
KINDS = ("predicted", "predictive_lower", "predictive_upper")
PENALTIES = np.geomspace(10, 1e5, 13)


def predict_ours(views, used, held, response, drugs, options):
    """Mean and 95 % interval of each held-out line's responses, (line, drug) each."""
    shown = {view: table.loc[used] for view, table in views.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = mb.MultiView.from_frames(shown, uninformative="drop")
        spec = mb.FactorModel(n_factors=options.factors, min_variance=0.0)
        post = mb.fit(seen, spec, engine=options.engine, seed=0, progress=False)
        outcome = mb.MultiContinuous(drugs)
        fitted = mb.RiskModel(outcome).fit(
            post, response, seed=0, sampler=options.sampler, n_draws=options.draws, n_chains=2
        )
        new = post.project({view: table.loc[held] for view, table in views.items()})
        frame = fitted.predict(new).to_frame()
    wide = frame.pivot_table(index="subject", columns="response", values=list(KINDS))
    return [wide[kind].loc[held, drugs].to_numpy() for kind in KINDS]


def predict_peers(x, used, held, response, drugs):
    """Predictions of ridge and forest, (line, drug) each."""
    scaler = StandardScaler().fit(x.loc[used])
    ridge, forest = (np.full((len(held), len(drugs)), np.nan) for _ in range(2))
    for k, drug in enumerate(drugs):
        y = response.loc[used, drug].dropna()
        own = scaler.transform(x.loc[y.index])
        there = scaler.transform(x.loc[held])
        ridge[:, k] = RidgeCV(PENALTIES).fit(own, y).predict(there)
        trees = RandomForestRegressor(300, max_features="sqrt", min_samples_leaf=3, random_state=0)
        forest[:, k] = trees.fit(own, y).predict(there)
    return ridge, forest


def score(truth, found, mean):
    """R^2 by drug over the lines that were tested, beside the training mean."""
    return 1 - np.nansum((truth - found) ** 2, axis=0) / np.nansum((truth - mean) ** 2, axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drugs", type=int, default=10)
    parser.add_argument("--factors", type=int, default=60)
    parser.add_argument("--engine", default="spectral", help="of the factors")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--sampler", default="gibbs", help="gibbs, or nuts (minutes a fold)")
    parser.add_argument("--draws", type=int, default=500, help="of each of two chains")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MOFA_BAYES_DATA", "../shared/data")))
    options = parser.parse_args()
    with threadpool_limits(1):
        run(options)


def run(options):
    folder = options.data / "gdsc_ccle"
    views = {view: pd.read_parquet(folder / f"{view}.parquet").astype(float) for view in VIEWS}
    response = pd.read_parquet(folder / "drug_response_lnIC50.parquet")
    drugs = [str(name) for name in response.notna().sum().nlargest(options.drugs).index]
    joined = pd.concat([table.add_prefix(f"{view}:") for view, table in views.items()], axis=1)
    joined = joined.fillna(joined.median())
    order = np.random.default_rng(0).permutation(response.index)
    truth, found = [], {name: [] for name in ("mean", "ours", "lower", "upper", "ridge", "forest")}
    seconds = {"ours": 0.0, "peers": 0.0}
    for fold in np.array_split(order, options.folds):
        held, used = list(fold), [line for line in order if line not in set(fold)]
        truth.append(response.loc[held, drugs].to_numpy())
        found["mean"].append(np.broadcast_to(response.loc[used, drugs].mean().to_numpy(), truth[-1].shape))
        started = time.process_time()
        for name, own in zip(
            ("ours", "lower", "upper"), predict_ours(views, used, held, response, drugs, options), strict=True
        ):
            found[name].append(own)
        between = time.process_time()
        for name, own in zip(("ridge", "forest"), predict_peers(joined, used, held, response, drugs), strict=True):
            found[name].append(own)
        seconds["ours"] += between - started
        seconds["peers"] += time.process_time() - between
    y = np.concatenate(truth)
    all_of = {name: np.concatenate(own) for name, own in found.items()}
    held = np.where(np.isnan(y), np.nan, (all_of["lower"] <= y) & (y <= all_of["upper"]))
    columns = {name: score(y, all_of[name], all_of["mean"]) for name in ("ours", "ridge", "forest")}
    table = pd.DataFrame(columns | {"cover": np.nanmean(held, axis=0)}, index=drugs)
    table.loc["mean"] = table.mean()
    settings = f"{options.folds} folds, {options.factors} factors by {options.engine}, {options.sampler}"
    print(f"{len(order)} lines, {settings}")
    print(table.round(3).to_string())
    print(f"processor seconds: ours {seconds['ours']:.0f}, ridge and forests {seconds['peers']:.0f}")


if __name__ == "__main__":
    main()
