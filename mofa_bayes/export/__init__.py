"""Where results go: tables as files."""

from mofa_bayes.export.tables import write_csv

__all__ = ["write_csv"]
