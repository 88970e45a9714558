"""Datasets from OpenNeuro: what a snapshot holds, what of it is here, and fetching the rest."""
