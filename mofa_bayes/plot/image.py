"""Where in the image: a factor's loadings put back into the mask that its view's features came from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mofa_bayes.errors import DataError, name_some
from mofa_bayes.explain import summarise
from mofa_bayes.explain.summarise import require_aligned, require_factors
from mofa_bayes.plot.arguments import choose_number
from mofa_bayes.plot.axes import DIVERGING, add_scale, new_axes
from mofa_bayes.posterior import Posterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_loadings_image(
    post: Posterior,
    view: str,
    factor: str,
    mask: NDArray[np.bool_],
    *,
    places: Sequence[str] | None = None,
    axis: int = 2,
    n_slices: int = 8,
    level: float = 0.95,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw mean loadings of an imaging view where its features lie, pale where the interval holds 0.

    Parameters
    ----------
    post
        A posterior.
    view, factor
        Which loadings.
    mask
        Boolean, of two or three dimensions: which pixels or voxels are features, in C order (`image[mask]`).
    places
        Names of the features of the mask's entries in that order. The view's own features when left out; give it where
        the fit left some of them out, which are then drawn as outside the model (grey).
    axis
        Of a mask with three dimensions, the one that is sliced.
    n_slices
        At most how many slices to show, evenly spaced over those that hold any of the mask.
    level
        Probability that an interval holds.
    ax
        Where to draw; a new figure when left out.

    Raises
    ------
    DataError
        The mask is not boolean, of another shape, or does not have as many entries as there are features.
    """
    require_aligned(post)
    require_factors(post, [factor])
    own = np.asarray(mask)
    _require_mask(own, axis)
    names = list(post.features(view) if places is None else places)
    _require_places(names, own, post, view)
    table = summarise(post.loadings(view).sel(factor=factor), level=level).set_index(f"feature_{view}").reindex(names)
    pale = ((table["lower"] <= 0) & (table["upper"] >= 0)).to_numpy()
    box = _find_box(own)
    images = [
        _fill(own, table["mean"].to_numpy(), np.nan)[box],
        _fill(own, pale, 0.0)[box],
        _fill(own, table["mean"].isna().to_numpy(), 0.0)[box],
    ]
    at = ""
    if own.ndim == 3:
        held = np.flatnonzero(own[box].any(axis=tuple(d for d in range(3) if d != axis)))
        count = min(choose_number("n_slices", n_slices), len(held))
        slices = held[np.linspace(0, len(held) - 1, count).round().astype(np.intp)]
        images = [_tile(image, axis, slices) for image in images]
        at = f", slices {', '.join(str(number) for number in slices + box[axis].start)}"
    loadings, is_pale, outside = images
    ax = new_axes(ax, 5.2, 5.2 * loadings.shape[0] / loadings.shape[1] + 0.7)
    largest = float(np.nanmax(np.abs(table["mean"].to_numpy()), initial=0.0)) or 1.0
    ax.imshow(np.where(outside > 0, 0.85, np.nan), cmap="gray", vmin=0, vmax=1, interpolation="none")
    shown = ax.imshow(
        loadings,
        cmap=DIVERGING,
        vmin=-largest,
        vmax=largest,
        interpolation="none",
        alpha=np.where(np.nan_to_num(is_pale) > 0, 0.3, 1.0),
    )
    ax.set_axis_off()
    ax.set_title(f"{view}: loadings of {factor}{at}\n(pale: {level:.0%} interval holds 0)", fontsize=9)
    add_scale(ax, shown, "loading (model's scale)")
    return ax


def _require_mask(mask: np.ndarray, axis: object) -> None:
    if mask.dtype != np.bool_ or mask.ndim not in (2, 3) or not mask.any():
        raise DataError(
            "mask",
            got=f"an array of {mask.dtype} of shape {mask.shape}" + ("" if mask.any() else " that holds nothing"),
            expected="booleans of two or three dimensions, some of them true",
            do="Write image != 0, or the mask's data as bool.",
        )
    if axis not in range(3):
        raise DataError("axis", got=repr(axis)[:80], expected="0, 1 or 2", do="2 is the last dimension.")


def _require_places(names: Sequence[str], mask: np.ndarray, post: Posterior, view: str) -> None:
    n_places = int(np.count_nonzero(mask))
    if len(names) != n_places or len(set(names)) != len(names):
        raise DataError(
            "mask",
            got=f"{n_places} places for {len(names)} features",
            expected="one place for each feature, in C order",
            do="Use the mask the features came from; if the fit left some out, name all of its places with `places`.",
        )
    if not set(names) & set(post.features(view)):
        raise DataError(
            "places",
            got=f"names of which view {view!r} has none ({name_some(names, 3)})",
            expected="names of its features",
            do="Use names of post.features(view).",
        )


def _fill(mask: np.ndarray, values: np.ndarray, outside: float) -> np.ndarray:
    image = np.full(mask.shape, outside)
    image[mask] = values
    return image


def _find_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Return the smallest box that holds a mask."""
    ends = [(held.min(), held.max() + 1) for held in np.nonzero(mask)]
    return tuple(slice(int(first), int(last)) for first, last in ends)


def _tile(image: np.ndarray, axis: int, slices: np.ndarray) -> np.ndarray:
    """Lay slices side by side in rows, near a square, with a gap between."""
    chosen = [np.pad(own, 1, constant_values=np.nan) for own in np.moveaxis(image, axis, 0)[slices]]
    n_columns = int(np.ceil(np.sqrt(len(chosen))))
    blank = np.full_like(chosen[0], np.nan)
    chosen += [blank] * (-len(chosen) % n_columns)
    rows = [np.hstack(chosen[start : start + n_columns]) for start in range(0, len(chosen), n_columns)]
    return np.vstack(rows)
