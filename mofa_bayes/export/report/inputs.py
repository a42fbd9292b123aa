"""What the report's command line reads: the views of a fit, and a table of scores."""

from pathlib import Path

import pandas as pd

from mofa_bayes.data.annotated import read_mudata
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.readers import read_frames
from mofa_bayes.errors import FileError
from mofa_bayes.posterior import Posterior
from mofa_bayes.posterior.project import as_views, prepare_new


def read_views_of(post: Posterior, folder: str | Path) -> MultiView:
    """Read the views of a fit, with the likelihoods that it had, and prepare them as they were for it.

    Parameters
    ----------
    post
        The fit.
    folder
        A folder of tables, or an `.h5mu` or `.h5ad` file.

    Raises
    ------
    FileError
        The folder or a view's file cannot be read.
    DataError
        A table cannot be used as the view.
    """
    if Path(folder).suffix in (".h5mu", ".h5ad"):
        measured = read_mudata(Path(folder), views=post.views, uninformative="drop")
    else:
        measured = as_views(post.tree, read_frames(folder, known=post.views)).drop_uninformative()
    return prepare_new(post.tree, measured)


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
