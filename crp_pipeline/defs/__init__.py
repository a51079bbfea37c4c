"""The Dagster layer: one file per stage. An asset takes, calls the domain, and returns with a few numbers and a picture."""
