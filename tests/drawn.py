"""What was drawn, read back from Axes; and posteriors with parts of them changed."""

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.collections import LineCollection, PathCollection

import mofa_bayes as mb

SENTINEL = "p00"
"""Every subject of the cohort has a name that starts so."""


def groups_of(post) -> dict[str, xr.Dataset]:
    return {name: node.to_dataset() for name, node in post.tree.children.items()}


def rebuild(post, groups) -> mb.Posterior:
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = dict(post.tree.attrs)
    return mb.Posterior(tree)


def with_groups(post, names) -> mb.Posterior:
    groups = groups_of(post)
    return rebuild(post, groups | {"moments": groups["moments"].assign(group_of=("subject", names))})


def text_of(ax) -> str:
    return " ".join(own.get_text() for own in ax.figure.findobj(mpl.text.Text))


def points_of(ax) -> np.ndarray:
    return np.vstack([own.get_offsets() for own in ax.collections if isinstance(own, PathCollection)])


def ends_of(ax, axis: int) -> np.ndarray:
    """Ends of all vertical (axis 1) or horizontal (axis 0) intervals, (n, 2)."""
    lines = [own for own in ax.collections if isinstance(own, LineCollection)]
    segments = np.vstack([np.array(own.get_segments()) for own in lines if len(own.get_segments())])
    own = segments[np.ptp(segments[:, :, 1 - axis], axis=1) == 0]
    return np.sort(own[:, :, axis], axis=1)
