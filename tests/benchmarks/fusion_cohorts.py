"""Fusion on real cohorts: early, intermediate and late fusion beside clinical covariates, on the same folds.

    PYTHONPATH=. python tests/benchmarks/fusion_cohorts.py [--cohorts gbmlgg,cll] [--folds 5] [--repeats 1] [--jobs 2]

Five TCGA cohorts, HANCOCK and CLL (time to treatment), from shared/data; see its READMEs. Expression of TCGA comes as
z-scores of RSEM with very heavy tails, and is brought to normal scores within each training fold, as are blood counts
and cell densities. HANCOCK's codes of diagnoses are taken as present or absent.
"""

import argparse
import time
from pathlib import Path

import pandas as pd

import mofa_bayes as mb
from mofa_bayes.risk.effects import Strength

DATA = Path("/work/shared/data")
FLOOR = {"gbmlgg": 0.81, "cll": 0.72, "hancock": 0.72, "luad": 0.64, "blca": 0.63, "hnsc": 0.54, "brca": 0.53}
"""C of an untuned per-view PCA and ridge Cox model, from issue 5."""
HEAVY_TAILED = ("rna", "blood", "tma_cell_density")
NOMINAL = ["primary_tumor_site", "histologic_type", "hpv_association_p16", "grading", "resection_status"]


def read_tcga(name):
    folder = DATA / f"tcga_{name}"
    clinical = pd.read_parquet(folder / "clinical.parquet")
    frames = {view: pd.read_parquet(folder / f"{view}.parquet") for view in ("rna", "cnv", "mut")}
    table = pd.DataFrame(
        {"time": clinical["os_months"], "event": clinical["os_event"], "age": clinical["age"],
         "female": clinical["is_female"]}
    )  # fmt: skip
    return frames, {}, table, ["age", "female"]


def read_cll():
    clinical = pd.read_parquet(DATA / "cll/clinical.parquet")
    frames = {
        view: pd.read_parquet(DATA / f"cll/{view}.parquet") for view in ("mrna", "methylation", "drugs", "mutations")
    }
    male = clinical["sex"].astype(str).str.lower().str.startswith("m").astype(float)
    table = pd.DataFrame(
        {"time": clinical["TTT_years"], "event": clinical["TTT_event"], "age": clinical["age"], "male": male}
    )
    return frames, {}, table, ["age", "male"]


def read_hancock():
    folder = DATA / "hancock"
    clinical = pd.read_parquet(folder / "clinical.parquet")
    names = ("blood", "icd", "pathology", "tma_cell_density", "image_HE", "image_CD3", "image_CD8")
    frames = {view: pd.read_parquet(folder / f"{view}.parquet") for view in names}
    frames["icd"] = (frames["icd"] > 0).astype(float)
    nominal = [name for name in frames["pathology"] if name in NOMINAL]
    kinds = {"pathology": dict.fromkeys(nominal, "categorical")}
    table = pd.DataFrame(
        {"time": clinical["os_days"] / 30.44, "event": clinical["os_event"], "age": clinical["age"],
         "female": clinical["sex_female"]}
    )  # fmt: skip
    return frames, kinds, table, ["age", "female"]


def read_cohort(name):
    """Views, outcome and covariates of the patients who can be used; covariates that are missing at their median."""
    frames, kinds, table, covariates = {"cll": read_cll, "hancock": read_hancock}.get(name, lambda: read_tcga(name))()
    table = table[(table["time"] > 0) & table["event"].notna()].astype(float)
    table[covariates] = table[covariates].fillna(table[covariates].median())
    table.index = table.index.astype(str)
    kept = {view: own.set_axis(own.index.astype(str)) for view, own in frames.items()}
    kept = {view: own[own.index.isin(table.index)].dropna(how="all") for view, own in kept.items()}
    views = mb.MultiView.from_frames(kept, likelihoods=kinds, uninformative="drop")
    return views, table.loc[list(views.subjects)], covariates


def run(name, args):
    views, table, covariates = read_cohort(name)
    start, used = time.perf_counter(), time.process_time()
    fusion = mb.compare_fusion(
        views,
        table,
        mb.Survival("time", "event"),
        covariates=covariates,
        steps={view: [mb.steps.QuantileNormal()] for view in HEAVY_TAILED if view in views.names},
        strength=Strength(factors=args.strength),
        folds=args.folds,
        repeats=args.repeats,
        seed=args.seed,
        n_jobs=args.jobs,
        n_bootstrap=args.bootstrap,
        checkpoint=None if args.checkpoint is None else Path(args.checkpoint) / name,
    )
    print(
        f"\n{name}: {views.n_subjects} patients, {int(table['event'].sum())} events; floor {FLOOR[name]:.2f}; "
        f"{time.perf_counter() - start:.0f} s, {time.process_time() - used:.0f} CPU s in this process"
    )
    table = fusion.table
    shown = table[table["metric"] == "c"].set_index("model")
    wide = fusion.summary().round(3)
    wide.insert(
        1, "c 95 %", [f"{low:.3f} to {high:.3f}" for low, high in zip(shown["lower"], shown["upper"], strict=True)]
    )
    ends = zip(shown["difference_lower"], shown["difference_upper"], strict=True)
    wide.insert(3, "over 95 %", [f"{low:+.3f} to {high:+.3f}" for low, high in ends])
    print(wide.to_string(), flush=True)
    return shown["estimate"].rename(name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", default=",".join(FLOOR))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--bootstrap", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strength", type=float, default=1.0, help="prior scale of effects of factors")
    parser.add_argument("--checkpoint", default=None, help="a folder for finished folds")
    args = parser.parse_args()
    names = args.cohorts.split(",")
    found = pd.concat([run(name, args) for name in names], axis=1)
    found.loc["floor"] = [FLOOR[name] for name in names]
    found["mean"] = found.mean(axis=1)
    print("\nC within folds\n" + found.round(3).to_string())
    over = found.loc["clinical + intermediate", names] - found.loc["clinical", names]
    best = found.drop(index="floor")["mean"].idxmax()
    print(f"\nclinical + intermediate over clinical: least {over.min():+.3f}, mean {over.mean():+.3f}")
    print(f"best model: {best}, {found.loc[best, 'mean'] - found.loc['floor', 'mean']:+.3f} over the floor on average")


if __name__ == "__main__":
    main()
