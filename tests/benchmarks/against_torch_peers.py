"""Our vi beside MOFA-FLEX 0.1.2 and MuVI 0.2.2: `python tests/benchmarks/against_torch_peers.py [--quick]`.

The cohorts of `recovery.py` (300 patients; views of 400, 200 and 50 features; six factors, two shared by all views, two
by two views, two of one view; a fifth of the patients lack one view, 5 % of the other entries are missing), once with
gaussian features only and once with a third view of binary ones. All get the same values and the same ten factors;
all centre gaussian features and divide each view by its one standard deviation (the peers' default, our
`scale="view"`). Each trains with its own defaults until it stops by itself, on one thread, in processes of their own:

mofaflex       its preset for MOFA's model, a horseshoe on loadings, learning rate 0.05
mofaflex sns   the same with spike-and-slab loadings, the prior that ours has
muvi           its defaults, a regularised horseshoe; with --patient also without its early stopping, which ends most
               fits within 30 of the 1,000 epochs that it waits at least ("muvi to the end": all 10,000)

Printed by cohort and program, means over seeds but for the smallest:
r               |r| of a true factor with the fitted one it matches best, over patients with a view that carries it
R               its multiple correlation with all fitted factors: 1 where they span it, however rotated
scattered       root mean squared error of entries hidden one by one, as a share of that of the feature's mean
absent          the same where the patient lacks the whole view (binary entries: of the probability)
seconds         of the processor, imports and compilation left out, and how many times ours that is
settled         how many fits stopped by their own criterion
"truth" predicts with the true factors and loadings, those included that an absent view would have told.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import peers
from recovery import DESIGN
from scipy.special import expit
from threadpoolctl import threadpool_limits

import mofa_bayes as mb

TORCH = "torch==2.13.0"
REQUIREMENTS = {"mofaflex": [TORCH, "mofaflex==0.1.2"], "muvi": [TORCH, "muvi==0.2.2", "pyro-ppl==1.9.1"]}
PROGRAMS = {
    "mofaflex": {"peer": "mofaflex", "prior": "Horseshoe"},
    "mofaflex sns": {"peer": "mofaflex", "prior": "SnS"},
    "muvi": {"peer": "muvi", "early_stopping": True},
}
PATIENT = {"muvi to the end": {"peer": "muvi", "early_stopping": False}}
WORKER = Path(__file__).with_name("torch_worker.py")
DESIGNS = {"gaussian": DESIGN, "with binary": replace(DESIGN, bernoulli={"ehr": DESIGN.n_features["ehr"]})}
N_FACTORS = 10


def likelihood_of(cohort, view):
    """One likelihood per view: that is what the peers can do."""
    (kind,) = set(cohort.views.likelihoods(view).values)
    return str(kind)


def fit_ours(cohort, seed):
    """Factors, predicted values by view, seconds, passes, and whether it settled."""
    begun = time.process_time()
    with threadpool_limits(1):
        spec = mb.FactorModel(n_factors=N_FACTORS, scale="view")
        post = mb.fit(cohort.views, spec, seed=seed, settings=mb.Ascent(n_threads=1), progress=False)
    seconds = time.process_time() - begun
    filled = post.impute(cohort.views)
    values = {view: filled[f"mean_{view}"].values for view in cohort.views.names}
    factors = post.factor_moments().sel(cohort.views.subjects).mean
    return factors, values, seconds, len(post.bound), bool(post.tree.attrs["converged"])


def fit_peer(python, program, cohort, seed):
    """The same of a peer."""
    kinds = {view: likelihood_of(cohort, view) for view in cohort.views.names}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for view in kinds:
            np.save(folder / f"{view}.npy", cohort.views[view].values)
        task = program | {"likelihoods": kinds, "n_factors": N_FACTORS, "seed": seed}
        (folder / "task.json").write_text(json.dumps(task))
        peers.call(python, WORKER, [str(folder)])
        found = dict(np.load(folder / "found.npz"))
    values = {}
    for view, kind in kinds.items():
        eta = found[f"eta_{view}"]
        if kind == "bernoulli":
            values[view] = expit(eta)
            continue
        center = np.nanmean(cohort.views[view].values, axis=0)
        values[view] = center + np.nanstd(cohort.views[view].values - center) * eta
    return found["factors"], values, float(found["seconds"][0]), int(found["epochs"]), bool(found["settled"])


def predict_truly(cohort):
    """Values that the true factors and loadings predict, with the best intercepts."""
    values = {}
    for view in cohort.views.names:
        signal = cohort.factors.to_numpy() @ cohort.loadings[view].T
        if likelihood_of(cohort, view) == "gaussian":
            values[view] = signal + (cohort.complete[view].to_numpy() - signal).mean(axis=0)
            continue
        share, intercept = cohort.complete[view].to_numpy().mean(axis=0), np.zeros(signal.shape[1])
        for _ in range(50):
            p = expit(signal + intercept)
            intercept += (share - p.mean(axis=0)) / (p * (1 - p)).mean(axis=0)
        values[view] = expit(signal + intercept)
    return values


def correlate(cohort, factors):
    """Largest |r| and the multiple correlation of each true factor, over subjects who have a view that carries it."""
    found = factors[:, factors.std(axis=0) > 0]
    single, multiple = [], []
    for name, truth in cohort.factors.items():
        carriers = [view for view, own in cohort.loadings.items() if np.any(own[:, cohort.factors.columns == name])]
        own = np.any([cohort.views.has_view(view).values for view in carriers], axis=0)
        y, x = truth[own] - truth[own].mean(), found[own] - found[own].mean(axis=0)
        single.append(np.abs(np.corrcoef(y, x.T)[0, 1:]).max())
        multiple.append(np.corrcoef(y, x @ np.linalg.lstsq(x, y)[0])[0, 1])
    return np.array(single), np.array(multiple)


def score(cohort, values):
    """Relative error of hidden entries: scattered and of absent views, by likelihood."""
    squares = {}
    for view in cohort.views.names:
        seen, truth = cohort.views[view].values, cohort.complete[view].to_numpy()
        has_view = cohort.views.has_view(view).values[:, None]
        by_mean = np.broadcast_to(np.nanmean(seen, axis=0), truth.shape)
        for place, where in (("scattered", np.isnan(seen) & has_view), ("absent", np.isnan(seen) & ~has_view)):
            errors = [np.square(own - truth)[where] for own in (values[view], by_mean)]
            squares.setdefault(f"{place} {likelihood_of(cohort, view)}", []).append(errors)
    return {
        name: float(np.sqrt(np.divide(*(np.concatenate(own).sum() for own in zip(*errors, strict=True)))))
        for name, errors in squares.items()
    }


def compare(pythons, programs, design, seeds):
    """Rows of one cohort after another."""
    rows = []
    for seed in seeds:
        cohort = mb.simulate_cohort(design, seed=seed)
        fits = {"ours": lambda: fit_ours(cohort, seed)}  # noqa: B023
        for name, program in programs.items():
            fits[name] = lambda own=program: fit_peer(pythons[own["peer"]], own, cohort, seed)  # noqa: B023
        rows.append({"program": "truth", "seed": seed} | score(cohort, predict_truly(cohort)))
        for name, fit in fits.items():
            factors, values, seconds, passes, settled = fit()
            r, span = correlate(cohort, factors)
            own = {"K": factors.shape[1], "smallest r": r.min(), "mean r": r.mean(), "smallest R": span.min()}
            own |= {"seconds": seconds, "passes": passes, "settled": settled}
            rows.append({"program": name, "seed": seed} | own | score(cohort, values))
    return rows


def show(name, rows):
    table = pd.DataFrame(rows)
    errors = [column for column in table if column.startswith(("scattered", "absent"))]
    groups = table.groupby("program", sort=False)
    shown = groups[["K", "mean r", *errors, "passes", "seconds"]].mean()
    for place, column in enumerate(("smallest r", "smallest R"), start=1):
        shown.insert(place, column, groups[column].min())
    shown["times ours"] = shown["seconds"] / shown.loc["ours", "seconds"]
    shown["settled"] = groups["settled"].sum()
    print(f"\n## {name}: {table['seed'].nunique()} cohorts, {DESIGNS[name].n_subjects} patients, {N_FACTORS} factors")
    print(shown.round(3).to_string(na_rep=""), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one gaussian cohort")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--designs", default=",".join(DESIGNS), help=f"some of {', '.join(DESIGNS)}")
    parser.add_argument("--patient", action="store_true", help="also MuVI without early stopping (7 minutes a cohort)")
    parser.add_argument("--env", type=Path, default=peers.DEFAULT_FOLDER, help="folder for the peers' environments")
    parser.add_argument("--json", type=Path, help="also write every row to this file")
    options = parser.parse_args()
    designs, seeds = (["gaussian"], 1) if options.quick else (options.designs.split(","), options.seeds)
    pythons = {peer: peers.prepare(peer, wanted, options.env) for peer, wanted in REQUIREMENTS.items()}
    programs = PROGRAMS | (PATIENT if options.patient else {})
    everything = {}
    for name in designs:
        fit_ours(mb.simulate_cohort(replace(DESIGNS[name], n_subjects=60), seed=0), 0)  # compiles
        everything[name] = compare(pythons, programs, DESIGNS[name], range(seeds))
        show(name, everything[name])
        if options.json:
            options.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
