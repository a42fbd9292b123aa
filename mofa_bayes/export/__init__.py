"""Where results go: tables as files."""

from mofa_bayes.export.tables import tabulate_moments, write_csv, write_parquet, write_table

__all__ = ["tabulate_moments", "write_csv", "write_parquet", "write_table"]
