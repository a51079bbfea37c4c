"""What stands of a night: which coins failed, and where."""

from collections.abc import Mapping, Sequence

import dagster as dg


def failed_assets(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey], coins: dg.PartitionsDefinition[str]
) -> Mapping[str, str]:
    """The first of these assets whose latest attempt failed, by coin; its stored value is of an earlier night."""
    found: dict[str, str] = {}
    for key in keys:
        statuses = instance.get_status_by_partition(key, coins.get_partition_keys(), coins) or {}
        for coin, status in statuses.items():
            if status is not None and status.value == "FAILED":
                found.setdefault(coin, key.to_user_string())
    return found
