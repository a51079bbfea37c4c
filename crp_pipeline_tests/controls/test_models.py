"""What is there to be found is found by every model, and nothing is found where nothing is."""

import math

import numpy as np
import pytest

from crp_pipeline.models import MODEL_TYPES, VARIANTS, ModelSpec, cross_fit
from crp_pipeline.models.catalog import MODEL_CLASSES, create_model
from crp_pipeline.models.scoring import log_losses
from crp_pipeline_tests.controls.market import control

pytestmark = pytest.mark.slow

EDGE, NOISE, FAINT = 1.0, 0.0, math.tan(0.1 * math.pi)
"""kappa of a market whose best accuracy is 0.75, of one that nobody can forecast, and of one whose best accuracy is 0.60."""
LEARNED = [name for name in MODEL_TYPES if name not in {"prior", "persistence"}]
EVERY = [(name, variant) for name in LEARNED for variant in VARIANTS]
SHORTENED = {"epochs": 4, "n_rounds": 60, "windows_per_label": 0.5, "batch_size": 256}


def spec_of(name, variant="default", **params):
    """The recipe, with fewer rounds or epochs where the model has any."""
    known = vars(create_model(name).params) if MODEL_CLASSES[name].variants else {}
    # windows cost many times what chunks do, single bars next to nothing
    params = {**{"lstm": {"epochs": 2}, "mlp_regressor": {"epochs": 15}}.get(name, {}), **params}
    return ModelSpec(name, variant, {key: value for key, value in {**SHORTENED, **params}.items() if key in known})


@pytest.fixture(scope="module", params=[EDGE, NOISE], ids=["edge", "noise"])
def market(request):
    made = control(kappa=request.param, n_bars=3_600, seed=3)
    return request.param, made, made.selected(keep=12)


@pytest.fixture(scope="module")
def prior(market):
    _, made, _ = market
    return cross_fit(ModelSpec("prior"), made.features, made.labels, made.folds, seed=0)


@pytest.mark.parametrize(("name", "variant"), EVERY, ids=[f"{name}-{variant}" for name, variant in EVERY])
def test_a_planted_edge_is_found_and_noise_is_not(name, variant, market, prior):
    kappa, made, selection = market
    seen = None if MODEL_CLASSES[name].reads_every_feature else selection
    found = cross_fit(spec_of(name, variant), made.features, made.labels, made.folds, seed=0, selection=seen)
    own, known = log_losses(found, made.labels), log_losses(prior, made.labels)
    gain = (known.loc[own.index] - own).to_numpy()
    surprise = gain.mean() / (gain.std() / math.sqrt(len(gain)))
    assert len(gain) > 1_400
    if kappa == EDGE:
        assert surprise > 3, (
            f"saves {gain.mean():.4f} nats a bar, {surprise:.1f} standard errors; the best possible is about 0.13"
        )
        assert made.hits(found).mean() > 0.55
    else:
        # 51 recipes are looked at: the luckiest of them exceeds 3 standard errors once in fifteen such markets
        assert surprise < 3.5, f"saves {gain.mean():.4f} nats a bar where nothing can be saved"


@pytest.fixture(scope="module")
def faint_markets():
    made = [control(kappa=FAINT, n_bars=20_000, seed=seed) for seed in range(5)]
    return [(it, it.selected()) for it in made]


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "catboost", "tcn"])
def test_the_best_possible_accuracy_is_nearly_reached_and_never_exceeded(name, faint_markets, record_property):
    shares, best, n = [], [], 0
    for seed, (made, selection) in enumerate(faint_markets):
        found = cross_fit(ModelSpec(name), made.features, made.labels, made.folds, seed=seed, selection=selection)
        hits, rows = made.hits(found), made.directed(found)
        shares.append(hits.mean())
        best.append((made.state_sign == made.labels["signal"].to_numpy())[rows].mean())
        n += len(hits)
    error = math.sqrt(0.6 * 0.4 / n)
    told = (
        f"{name}: {np.mean(shares):.4f} (seeds {min(shares):.4f} to {max(shares):.4f}), hidden state {np.mean(best):.4f}, n {n}"
    )
    record_property("accuracy", told)
    print(told)
    assert abs(np.mean(shares) - 0.6) < 0.02, told
    assert np.mean(shares) < 0.6 + 3 * error, told
    assert all(share < reached + 3 * math.sqrt(0.24 / (n / 5)) for share, reached in zip(shares, best, strict=True)), told
