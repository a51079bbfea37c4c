"""The whole corridor many times over, with a shorter proof per coin: its full length is held by the leakage tests."""

import pytest

from crp_pipeline.features import feed_proof, proof


@pytest.fixture(scope="module", autouse=True)
def short_proof():
    with pytest.MonkeyPatch.context() as patch:
        for name, cuts in {"RANDOM_CUTS": 4, "HOLE_CUTS": 3, "LATEST_CUTS": 4}.items():
            patch.setattr(proof, name, cuts)
        patch.setattr(feed_proof, "HOLE_CUTS", 3)
        yield
