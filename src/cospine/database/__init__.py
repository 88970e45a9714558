"""Every dataset, participant, run, acquisition, quality measure and result as Parquet tables that SQL can ask."""

from cospine.database.query import Answer, Catalogue, open_catalogue

__all__ = ["Answer", "Catalogue", "open_catalogue"]
