"""What the report's command line reads: the views of a fit, and a table of scores."""

from pathlib import Path

import pandas as pd

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.readers import read_views
from mofa_bayes.errors import FileError
from mofa_bayes.posterior import Posterior


def read_views_of(post: Posterior, folder: str | Path) -> MultiView:
    """Read the views of a fit from a folder, with the likelihoods that the fit had.

    Raises
    ------
    FileError
        The folder or a view's file cannot be read.
    DataError
        A table cannot be used as the view.
    """
    moments = post.tree.children["moments"].to_dataset()
    likelihoods = {}
    for view in post.views:
        kinds = post.likelihoods(view).values
        # The levels of a categorical variable are features of their own, and their column has its name.
        variables = moments[f"variable_{view}"].values if f"variable_{view}" in moments else post.features(view)
        likelihoods[view] = {str(name): str(kind) for name, kind in zip(variables, kinds, strict=True)}
    return read_views(folder, names=post.views, likelihoods=likelihoods, uninformative="drop")


def read_score_table(path: str | Path) -> pd.DataFrame:
    """Read what `Scores.to_parquet` wrote.

    Raises
    ------
    FileError
        The file is absent or not Parquet.
    """
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these kinds
        raise FileError(
            f"file {str(path)!r}",
            got=f"{type(error).__name__} while reading it",
            expected="a table of scores in Parquet",
            do="Write it with scores.to_parquet(path).",
        ) from error
