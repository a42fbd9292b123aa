"""Fit mofapy2 to the arrays of a folder. Runs inside mofapy2's own environment: no import of ours.

`python mofapy2_worker.py FOLDER`; FOLDER holds `task.json` and `view_<m>.npy`, and receives `fast.npz` and `slow.npz`,
the state of the fit where each convergence mode stops. One run serves both, because the mode only says when to stop:
where a "slow" fit first meets the "fast" criterion its state is copied, off the clock. With the task's mode "fast" it
ends there.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from mofapy2.core.BayesNet import BayesNet
from mofapy2.run.entry_point import entry_point

FAST = 0.0005


class Watch:
    """Clock of one fit: seconds of wall and of processor since it began, pauses taken out."""

    def __init__(self):
        self.paused = np.zeros(2)
        self.begun = self.read()
        self.trace = []

    def read(self):
        return np.array([time.perf_counter(), time.process_time()])

    def seconds(self):
        return self.read() - self.begun - self.paused


def state_of(net):
    """Copy q of every node, as flat arrays."""
    kept = {"z_mean": net.nodes["Z"].Q.params["mean"], "z_variance": net.nodes["Z"].Q.params["var"]}
    for m in range(net.dim["M"]):
        weights = net.nodes["W"].getNodes()[m].Q.params
        own = {
            "inclusion": weights["theta"],
            "slab_mean": weights["mean_B1"],
            "slab_variance": weights["var_B1"],
            "spike_variance": weights["var_B0"],
        }
        for name, node in (("alpha", "AlphaW"), ("theta", "ThetaW"), ("tau", "Tau")):
            node = net.nodes[node].getNodes()[m]
            if hasattr(node, "Q"):
                own |= {f"{name}_a": node.Q.params["a"], f"{name}_b": node.Q.params["b"]}
        data = net.nodes["Y"].getNodes()[m]
        if getattr(data, "params", None) and "zeta" in data.params:
            own["xi"] = data.params["zeta"]
        kept |= {f"{name}_{m}": np.asarray(value) for name, value in own.items()}
    return {name: np.array(value, dtype=np.float64) for name, value in kept.items()}


def watch_fit(watch, folder, task):
    """Record the bound whenever mofapy2 computes it, and the state where "fast" would have stopped."""
    bound_of, stops = BayesNet.calculateELBO, BayesNet.assess_convergence
    fast = {"token": 1, "done": False}

    def calculate(net, *nodes):
        elbo = bound_of(net, *nodes)
        watch.trace.append([*watch.seconds(), float(elbo["total"])])
        return elbo

    def assess(net, change, first, token):
        if not fast["done"]:
            fast["token"] = fast["token"] + 1 if 100 * abs(change / first) < FAST else 1
            if fast["token"] == 3:
                fast["done"] = True
                before = watch.read()
                np.savez(folder / "fast.npz", trace=np.array(watch.trace), **state_of(net))
                watch.paused += watch.read() - before
        token, converged = stops(net, change, first, token)
        watch.converged = converged
        enough = task["mode"] == "fast" and fast["done"]
        return token, converged or enough or watch.seconds()[1] > task["limit"]

    BayesNet.calculateELBO, BayesNet.assess_convergence = calculate, assess


def main():
    folder = Path(sys.argv[1])
    task = json.loads((folder / "task.json").read_text())
    data = [[np.load(folder / f"view_{m}.npy")] for m in range(task["n_views"])]
    watch = Watch()
    watch.converged = False
    watch_fit(watch, folder, task)
    fit = entry_point()
    fit.set_data_options(scale_views=False, scale_groups=False, use_float32=task["use_float32"])
    fit.set_data_matrix(data, likelihoods=task["likelihoods"])
    fit.set_model_options(
        factors=task["n_factors"], spikeslab_factors=False, spikeslab_weights=True, ard_factors=False, ard_weights=True
    )
    fit.set_train_options(iter=task["max_iterations"], convergence_mode="slow", seed=task["seed"], quiet=True)
    fit.build()
    fit.run()
    # The last pass need not be one after which mofapy2 looked at its bound.
    fit.model.calculateELBO()
    state = state_of(fit.model)
    np.savez(folder / "slow.npz", trace=np.array(watch.trace), converged=watch.converged, **state)


if __name__ == "__main__":
    main()
