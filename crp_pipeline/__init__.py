"""Nightly retraining of crypto trading models that can be believed.

Candles walk one corridor of nine rooms and leave as a verdict: promote this coin's model, or not, and why.

    candles -> features -> labels -> splits -> models -> ensemble -> backtest -> gate -> registry

`crp_pipeline.<stage>` holds a stage's logic, `crp_pipeline.defs.<stage>` its Dagster assets, `data/<stage>/` its files.
"""
