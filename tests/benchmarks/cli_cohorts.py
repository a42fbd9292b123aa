"""Real cohorts by the command line alone: `python tests/benchmarks/cli_cohorts.py [--cohorts eicu_demo,hancock]`.

Each cohort's tables go through `mofa-bayes fit`, `risk` and `score`, MIMIC's events through `views` first; what is
printed are exit codes and seconds. Views that know the outcome are left out: discharge diagnoses of MIMIC, and of
HANCOCK the pathology that is read off the operated tumour is kept but no follow-up is.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

RULES = """
[events]
labs = { rule = "latest", codes = "LAB//*", within = "48h", min_subjects = 20 }
vitals = { rule = "mean", codes = "VITAL//*", within = "48h", min_subjects = 20 }
drugs = { rule = "presence", codes = "MEDICATION//START//*", within = "48h", min_subjects = 20 }
"""
COHORTS = {
    "eicu_demo": {
        "views": ["apache_labs_vitals", "bp_24h", "treatments_24h", "past_history"],
        "outcome": "binary:hospital_death",
        "covariates": ["age", "sex"],
        "more": [],
        "horizons": [],
    },
    "hancock": {
        "views": ["blood", "icd", "tma_cell_density", "image_HE"],
        "outcome": "survival:os_days,os_event",
        "covariates": ["age"],
        "more": ["--baseline", "weibull"],
        "horizons": [365, 1095],
    },
    "mimic3_demo": {
        "views": ["labs", "vitals", "drugs"],
        "outcome": "binary:hospital_death",
        "covariates": ["age"],
        "more": [],
        "horizons": [],
    },
}


def run(what, *words):
    """Run a command; print its code and seconds."""
    command = [sys.executable, "-c", "from mofa_bayes.cli import app; app()", *(str(word) for word in words)]
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(f"{what:32s} exit {done.returncode}  {time.perf_counter() - begun:7.1f} s", flush=True)
    if done.returncode:
        print(done.stderr[-1500:], flush=True)
    return done.returncode == 0


def repeat(option, values):
    return [word for value in values for word in (option, value)]


def tabulate_mimic(data, place):
    """Views of events before 48 h after admission; index times stand in the clinical table."""
    clinical = pd.read_parquet(data / "mimic3_demo" / "clinical.parquet")
    clinical.assign(subject=clinical["subject"].astype(str)).to_parquet(place / "index.parquet")
    (place / "rules.toml").write_text(RULES)
    words = ["--index", place / "index.parquet", "--config", place / "rules.toml", "--time", "admit_time"]
    return run(
        "mimic3_demo views", "views", data / "mimic3_demo" / "events_meds.parquet", *words,
        "--person", "subject", "--after", "48h", "--out", place / "views",
    )  # fmt: skip


def try_cohort(name, data, options, place):
    own = COHORTS[name]
    folder, clinical = data / name, data / name / "clinical.parquet"
    if name == "mimic3_demo":
        if not tabulate_mimic(data, place):
            return False
        folder = place / "views"
    views = repeat("--view", own["views"])
    fit = ("fit", folder, *views, "--factors", options.factors, "--cross-fit", options.folds, "--out", place / "fit.nc")
    risk = (
        "risk", place / "fit.nc", clinical, "--outcome", own["outcome"], *repeat("--covariate", own["covariates"]),
        *own["more"], "--complete-only", "--draws", options.draws, "--out", place / "risk.nc",
    )  # fmt: skip
    if not (run(f"{name} fit", *fit) and run(f"{name} risk", *risk)):
        return False
    # Scored are patients who have all covariates, as new ones.
    table = pd.read_parquet(clinical).dropna(subset=own["covariates"])
    kept = table.index[: options.new]
    (place / "new").mkdir()
    for view in own["views"]:
        rows = pd.read_parquet(folder / f"{view}.parquet")
        rows.loc[rows.index.intersection(kept)].to_parquet(place / "new" / f"{view}.parquet")
    score = (
        "score", place / "fit.nc", place / "risk.nc", place / "new", "--clinical", clinical, *views,
        *repeat("--time", own["horizons"]), "--out", place / "scores.parquet",
    )  # fmt: skip
    if not run(f"{name} score", *score):
        return False
    scores = pd.read_parquet(place / "scores.parquet")
    column = "risk" if "risk" in scores else "mean"
    print(f"{name}: {len(scores)} scores, mean {np.mean(scores[column]):.3f}", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", default=",".join(COHORTS))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MOFA_BAYES_DATA", "../shared/data")))
    parser.add_argument("--factors", type=int, default=8)
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--new", type=int, default=20, help="patients to score")
    options = parser.parse_args()
    hold = []
    for name in options.cohorts.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            hold.append(try_cohort(name, options.data, options, Path(temporary)))
    raise SystemExit(0 if all(hold) else 1)


if __name__ == "__main__":
    main()
