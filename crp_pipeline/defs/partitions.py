"""A partition is a coin."""

import warnings
from collections.abc import Sequence

import dagster as dg

from crp_pipeline.candles.source import available_coins
from crp_pipeline.settings import PipelineSettings


def coin_partitions(settings: PipelineSettings) -> dg.StaticPartitionsDefinition:
    """One partition per configured coin, or per coin that the source has."""
    return dg.StaticPartitionsDefinition(list(available_coins(settings)))


def coin_check(
    name: str, asset: str | Sequence[str], coins: dg.PartitionsDefinition[str], description: str, *, blocking: bool = False
) -> dg.AssetCheckSpec:
    """A check that is kept per coin, so that one coin's pass cannot hide another's failure."""
    with warnings.catch_warnings():
        # partitioned checks are in preview in dagster 1.13; the pinned version is tested with them
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(
            name, asset=dg.AssetKey(asset), description=description, blocking=blocking, partitions_def=coins
        )
