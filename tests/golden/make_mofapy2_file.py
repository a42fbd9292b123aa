"""Write `mofapy2.hdf5.gz`, a file of mofapy2 itself. Runs in mofapy2's own environment (see tests/benchmarks/peers.py).

`~/.cache/mofa_bayes_peers/mofapy2/bin/python tests/golden/make_mofapy2_file.py`: mofapy2 0.7.5. Views are not in
alphabetical order, groups are not sorted, a view is absent for some samples, one view is binary.
"""

from pathlib import Path

import numpy as np
from mofapy2.run.entry_point import entry_point

rng = np.random.default_rng(7)
sizes = {"rna": 12, "mutations": 6, "meth": 9}
counts = {"site B": 14, "site A": 20}
loadings = {view: rng.normal(0, 1, (3, size)) for view, size in sizes.items()}
factors = {group: rng.standard_normal((count, 3)) for group, count in counts.items()}
data = []
for view, own in loadings.items():
    linear = [factors[group] @ own for group in counts]
    if view == "mutations":
        data.append([(rng.random(eta.shape) < 1 / (1 + np.exp(-2 * eta))).astype(float) for eta in linear])
    else:
        data.append([3 + g + eta + 0.5 * rng.standard_normal(eta.shape) for g, eta in enumerate(linear)])
data[2][1][:4] = np.nan  # four samples of site A were never methylated
data[0][0][3, 5] = np.nan

path = Path(__file__).with_name("mofapy2.hdf5")
fit = entry_point()
fit.set_data_options(scale_views=False, scale_groups=False, center_groups=True)
fit.set_data_matrix(
    data,
    likelihoods=["gaussian", "bernoulli", "gaussian"],
    views_names=list(sizes),
    groups_names=list(counts),
    samples_names=[[f"{group[-1].lower()}{n:02d}" for n in range(count)] for group, count in counts.items()],
    features_names=[[f"{view}_{d}" for d in range(size)] for view, size in sizes.items()],
)
fit.set_model_options(factors=3, spikeslab_weights=True, ard_factors=True, ard_weights=True)
fit.set_train_options(iter=60, convergence_mode="fast", seed=1, quiet=True)
fit.build()
fit.run()
fit.save(str(path), save_data=True)
