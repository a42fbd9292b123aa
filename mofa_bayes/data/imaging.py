"""Images as views: tables of image features, and NIfTI volumes within a mask, whose loadings map back to an image."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from mofa_bayes.data.extras import import_extra
from mofa_bayes.errors import DataError, FileError, name_some

_NOT_FEATURES = ("diagnostics_", "Image", "Mask", "Label")


def read_image_features(path: str | Path, *, subject: str | None = None, separator: str | None = None) -> pd.DataFrame:
    """Read a table of image features as pyradiomics (CSV) and FreeSurfer (`aparcstats2table`, tabs) write them.

    Columns that are no features are left out: pyradiomics' `diagnostics_*`, paths of image and mask, and text.

    Parameters
    ----------
    path
        The file.
    subject
        Column of subject ids; the first one when left out.
    separator
        Between columns; found out when left out.

    Returns
    -------
    One row for each subject, columns of numbers: a table for `MultiView.from_frames`.

    Raises
    ------
    FileError
        The file cannot be read.
    DataError
        Subjects come twice (several lesions each: average or name them first), or no feature is left.
    """
    place = Path(path)
    try:
        table = pd.read_csv(
            place, sep=separator, engine="python" if separator is None else "c", dtype={subject or 0: str}
        )
    except (OSError, ValueError, TypeError) as error:
        raise FileError(
            f"file {place.name!r}",
            got=f"{type(error).__name__} while reading it",
            expected="a table of image features",
            do="Give its separator, or read it with pandas.",
        ) from error
    name = table.columns[0] if subject is None else subject
    if name not in table.columns:
        raise DataError(
            f"file {place.name!r}",
            got=f"no column {name!r}",
            expected=f"one of {name_some(table.columns, 8)}",
            do="Name the column of subject ids.",
        )
    ids = table[name].astype(str)
    if ids.duplicated().any():
        raise DataError(
            f"file {place.name!r}",
            got=f"{int(ids.duplicated().sum())} subjects more than once",
            expected="one row each",
            do="Average their lesions, or give each region columns of its own.",
        )
    kept = [
        column
        for column in table.columns
        if column != name and not str(column).startswith(_NOT_FEATURES) and pd.api.types.is_numeric_dtype(table[column])
    ]
    if not kept:
        raise DataError(
            f"file {place.name!r}", got="no column of numbers", expected="image features", do="Check the separator."
        )
    return table[kept].set_axis(pd.Index(ids, name=None), axis=0)


def read_volumes(volumes: Mapping[str, Any], mask: Any) -> pd.DataFrame:  # noqa: ANN401
    """Read NIfTI volumes within a mask, one column for each voxel.

    Parameters
    ----------
    volumes
        Subject -> path of a volume, or an image that nibabel has loaded; all on the grid of the mask.
    mask
        Path or image, not zero where a voxel counts.

    Returns
    -------
    One row for each subject; columns `v<i>_<j>_<k>` by the voxel's place in the mask. Voxels that are not finite are
    missing.

    Raises
    ------
    MissingExtraError
        nibabel is not installed.
    FileError
        A file is no image.
    DataError
        A volume is not on the grid of the mask.
    """
    if not isinstance(volumes, Mapping) or not volumes:
        raise DataError(
            "volumes",
            got=type(volumes).__name__,
            expected="a mapping from subject to path or image",
            do='Write {"p1": "p1.nii.gz"}.',
        )
    inside, affine = _read_mask(mask)
    rows = {}
    for number, (subject, source) in enumerate(volumes.items()):
        image = _load(source, f"volume {number + 1} of {len(volumes)}")
        if image.shape[:3] != inside.shape or image.ndim != 3 or not np.allclose(image.affine, affine, atol=1e-3):
            raise DataError(
                f"volume {number + 1} of {len(volumes)}",
                got=f"a grid of {image.shape}, or another place in space",
                expected=f"the grid of the mask, {inside.shape}",
                do="Resample it to the mask first.",
            )
        values = np.asarray(image.dataobj, dtype=np.float32)[inside]
        rows[str(subject)] = np.where(np.isfinite(values), values, np.nan)
    names = ["v" + "_".join(map(str, place)) for place in np.argwhere(inside)]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def to_volume(values: xr.DataArray, mask: Any) -> Any:  # noqa: ANN401
    """Put one number for each voxel back into an image: a factor's loadings, their sd or inclusion probability.

    Parameters
    ----------
    values
        One dim, whose coordinate names voxels as `read_volumes` does:
        `post.loadings("mri").mean(("chain", "draw")).sel(factor="F1")`.
    mask
        The mask that was read with.

    Returns
    -------
    A NIfTI image (nibabel) on the grid of the mask, NaN outside it and where a voxel is not among the features; save it
    with `nibabel.save`.

    Raises
    ------
    DataError
        A name is no voxel of the mask.
    """
    nibabel = import_extra("nibabel", "imaging", "images")
    inside, affine = _read_mask(mask)
    if values.ndim != 1:
        raise DataError(
            "values of voxels",
            got=f"dims {values.dims}",
            expected="one dim, of voxels",
            do="Average draws and choose a factor first.",
        )
    known = {"v" + "_".join(map(str, place)): tuple(place) for place in np.argwhere(inside)}
    names = [str(name) for name in values[values.dims[0]].values]
    foreign = [name for name in names if name not in known]
    if foreign:
        raise DataError(
            "values of voxels",
            got=f"{len(foreign)} that the mask does not have ({name_some(foreign)})",
            expected="voxels of the mask",
            do="Use the mask that the view was read with.",
        )
    volume = np.full(inside.shape, np.nan, dtype=np.float32)
    volume[tuple(np.array([known[name] for name in names]).T)] = values.values
    return nibabel.Nifti1Image(volume, affine)


def _read_mask(mask: Any) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN401
    image = _load(mask, "mask")
    inside = np.nan_to_num(np.asarray(image.dataobj, dtype=np.float64)) != 0
    if inside.ndim != 3 or not inside.any():
        raise DataError(
            "mask",
            got=f"{int(inside.sum())} voxels in {inside.ndim} dimensions",
            expected="a volume with a voxel that is not zero",
            do="Check the file.",
        )
    return inside, np.asarray(image.affine)


def _load(source: Any, what: str) -> Any:  # noqa: ANN401
    nibabel = import_extra("nibabel", "imaging", "images")
    if hasattr(source, "dataobj") and hasattr(source, "affine"):
        return source
    try:
        return nibabel.load(source)
    except (OSError, TypeError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        raise FileError(
            what, got=f"{type(error).__name__} while reading it", expected="a NIfTI image", do="Check the path."
        ) from error
