"""What each model of the zoo makes of one simulated cohort. `python tests/golden/golden.py` writes it anew."""

import json
from pathlib import Path

import mofa_bayes as mb
from mofa_bayes.data.simulate import Design
from mofa_bayes.testing import recover

DESIGN = Design(
    n_subjects=200,
    n_features={"rna": 200, "meth": 120, "ehr": 30},
    sharing=[("rna", "meth", "ehr"), ("rna", "meth"), ("meth", "ehr"), ("rna",)],
    bernoulli={"ehr": 10},
    absent_view=0.2,
    missing=0.05,
)


def measure(name: str) -> dict[str, object]:
    """Fit a model of the zoo to the cohort and say how well it did."""
    cohort = mb.simulate_cohort(DESIGN, seed=7)
    post = mb.fit(cohort.views, mb.load_model(name), seed=0, progress=False)
    found = recover(cohort, post)
    return {
        "command": "python tests/golden/golden.py",
        "n_factors": len(post.factor_names),
        "bound": round(float(post.bound[-1]), 3),
        "smallest_r": round(float(found.factors["r"].min()), 4),
        "coverage_95": round(found.coverage, 4),
        "n_hidden": found.n_hidden,
        "sharing": {true: str(mb.sharing(post)["views"][own]) for true, own in found.factors["found"].items()},
    }


def path_of(name: str) -> Path:
    """Where a model's golden file lies."""
    return Path(__file__).resolve().parents[2] / "models" / name / "golden.json"


if __name__ == "__main__":
    for entry in mb.list_models():
        path_of(entry.name).write_text(json.dumps(measure(entry.name), indent=2) + "\n", encoding="utf-8")
