"""Fit MOFA-FLEX or MuVI to the tables of a folder. Runs inside the peer's own environment: no import of ours.

`python torch_worker.py FOLDER`; FOLDER holds `task.json` and `<view>.npy` (N, D), NaN where missing, and receives
`found.npz`: factors (N, K), the linear predictor of every entry by view on the model's scale, seconds of processor and
wall (imports left out), epochs, and whether training stopped by itself.
"""

import json
import logging
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch


def fit_mofaflex(tables, task):
    """MOFA-FLEX's own preset for MOFA's model (`presets.MOFA`: learning rate 0.05), with the task's prior."""
    from anndata import AnnData
    from mofaflex import MOFAFLEX, DataOptions, ModelOptions, TrainingOptions

    likelihoods = {view: {"gaussian": "Normal", "bernoulli": "Bernoulli"}[k] for view, k in task["likelihoods"].items()}
    data = {view: AnnData(table.dropna(how="all").astype(np.float32)) for view, table in tables.items()}
    begun = clock()
    model = MOFAFLEX(
        {"all": data},
        DataOptions(plot_data_overview=False),
        ModelOptions(
            n_factors=task["n_factors"], weight_prior=task["prior"], factor_prior="Normal", likelihoods=likelihoods
        ),
        TrainingOptions(device="cpu", lr=0.05, seed=task["seed"], save_path=False),
    )
    seconds = clock() - begun
    factors = model.get_factors()["all"].loc[next(iter(tables.values())).index].to_numpy()
    eta = {view: factors @ own[tables[view].columns].to_numpy() for view, own in model.get_weights().items()}
    epochs = len(model.training_loss)
    return factors, eta, seconds, epochs, epochs < TrainingOptions().max_epochs


def fit_muvi(tables, task):
    """MuVI's defaults: regularised horseshoe, all rows in a batch, learning rate 0.005, early stopping."""
    from muvi import MuVI

    likelihoods = {view: {"gaussian": "normal"}.get(k, k) for view, k in task["likelihoods"].items()}
    begun = clock()
    model = MuVI(
        {view: table.astype(np.float32) for view, table in tables.items()},
        n_factors=task["n_factors"],
        view_names=list(tables),
        likelihoods=likelihoods,
        device="cpu",
    )
    model.fit(verbose=False, seed=task["seed"], early_stopping=task["early_stopping"])
    seconds = clock() - begun
    factors, loadings = model.get_factor_scores(), model.get_factor_loadings()
    # Not get_reconstructed: it rounds the logits of binary views to 0 and 1.
    eta = {view: factors @ loadings[view] for view in tables}
    return factors, eta, seconds, model._training_log["n_iter"], model._training_log["stop_early"]


FITS = {"mofaflex": fit_mofaflex, "muvi": fit_muvi}


def clock():
    return np.array([time.process_time(), time.perf_counter()])


def main():
    folder = Path(sys.argv[1])
    task = json.loads((folder / "task.json").read_text())
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    tables = {}
    for view in task["likelihoods"]:
        values = np.load(folder / f"{view}.npy")
        rows, columns = ([f"{kind}{n:05d}" for n in range(size)] for kind, size in zip("pf", values.shape, strict=True))
        tables[view] = pd.DataFrame(values, rows, [f"{view}_{column}" for column in columns])
    factors, eta, seconds, epochs, settled = FITS[task["peer"]](tables, task)
    predictors = {f"eta_{view}": own for view, own in eta.items()}
    np.savez(folder / "found.npz", factors=factors, seconds=seconds, epochs=epochs, settled=settled, **predictors)


if __name__ == "__main__":
    main()
