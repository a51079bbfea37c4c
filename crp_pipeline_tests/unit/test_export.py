"""An exported model is the model: with holes, at thresholds, one row at a time and many, and on real candles."""

import numpy as np
import onnx
import pytest

from crp_pipeline.candles import load_candles, repair_candles
from crp_pipeline.contracts import Samples
from crp_pipeline.errors import BundleError, DataContractError, NotFittedError
from crp_pipeline.features import compute_features
from crp_pipeline.labels import make_labels
from crp_pipeline.models import MODEL_TYPES, VARIANTS, Model, OnnxModel, Validation, create_model, export_onnx, samples_of
from crp_pipeline.models.gbdt import forest, lightgbm
from crp_pipeline.models.gbdt.forest import float32_at_or_below
from crp_pipeline.settings import LabelConfig
from crp_pipeline_tests.recording import Shrunken

BOOSTERS = ("xgboost", "lightgbm", "catboost", "xgboost_regressor", "lightgbm_regressor")
TABLE_MODELS = ("prior", "persistence", "logistic", *BOOSTERS)
N_FEATURES = 8
every_variant = pytest.mark.parametrize(("name", "variant"), [(name, variant) for name in TABLE_MODELS for variant in VARIANTS])


def problem(n=1_200, *, seed=0):
    """(samples, targets): columns with holes, whole ones, steps, one constant and one that is all holes."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, N_FEATURES))
    X[:, 2] = np.round(X[:, 2])
    X[rng.random(n) < 0.2, 3] = np.nan
    X[:, 4], X[:, 5] = 7.0, np.nan
    X[:, 6] *= 1e-6
    X[:, 7] = 1e5 + X[:, 7]
    pull = X[:, 0] + np.nan_to_num(X[:, 3]) + 0.5 * X[:, 2] + rng.normal(0, 0.5, n)
    return Samples(X, np.arange(n)), pull


def fitted(name, variant, *, n=1_200, samples=None, pull=None, **params):
    if samples is None:
        samples, pull = problem(n)
    y = 0.01 * pull if name.endswith("regressor") else np.sign(pull) * (np.abs(pull) > 0.5)
    learn, watch = np.arange(len(y) * 3 // 4), np.arange(len(y) * 3 // 4, len(y))
    quick = {"n_rounds": 40, "min_leaf_rows": 10} if name in BOOSTERS else {}
    later = Validation(samples.take(watch), y[watch])
    return create_model(name, variant=variant, **{**quick, **params}).fit(samples.take(learn), y[learn], validation=later)


def with_holes():
    samples, _ = problem(300, seed=1)
    holed = samples.history.copy()
    holed[np.random.default_rng(2).random(holed.shape) < 0.3] = np.nan
    holed[0] = np.nan
    return Samples(holed, samples.rows)


def neighbours(value):
    """The float32 numbers below, at and above a value that is one."""
    with np.errstate(over="ignore"):
        around = [np.nextafter(value, np.float32(-np.inf)), value, np.nextafter(value, np.float32(np.inf))]
    return [x for x in around if np.isfinite(x)]


def at_thresholds(model, *, most=400):
    """Rows at a threshold, just below it and just above it: one float32 apart."""
    rng, samples = np.random.default_rng(3), problem(300, seed=4)[0]
    pairs = [
        (feature, np.float32(value))
        for tree in model._forest().trees
        for feature, value in zip(tree.feature[~tree.is_leaf], tree.threshold[~tree.is_leaf], strict=True)
    ]
    pairs = [pairs[i] for i in rng.permutation(len(pairs))[:most]]
    rows = []
    for feature, value in pairs:
        for x in neighbours(value):
            row = samples.history[rng.integers(300)].copy()
            row[feature] = x
            rows.append(row)
    return Samples(np.array(rows), np.arange(len(rows)))


def require_same(model, samples, folder, *, tolerance=2e-6):
    """At batch 1 and batch n; tighter than what `export_onnx` lets pass, in spreads of the output where it is no probability."""
    exported = OnnxModel(export_onnx(model, folder / "model.onnx", check=samples))
    native, windows = model.predict(samples), samples.windows(model.reach).astype(np.float32)
    unit = getattr(model, "spread", 1.0)
    assert np.abs(exported.predict(windows) - native).max() < tolerance * unit
    one_by_one = np.concatenate([exported.predict(windows[row : row + 1]) for row in range(len(samples))])
    assert np.abs(one_by_one - native).max() < tolerance * unit


def test_each_model_of_a_table_is_exported_here():
    assert set(TABLE_MODELS) <= set(MODEL_TYPES)


@every_variant
def test_rows_with_holes_get_the_same_answers(name, variant, tmp_path):
    require_same(fitted(name, variant), with_holes(), tmp_path, tolerance=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", BOOSTERS)
def test_rows_at_a_threshold_get_the_same_answers(name, variant, tmp_path):
    model = fitted(name, variant)
    require_same(model, at_thresholds(model), tmp_path, tolerance=1e-5)


@pytest.mark.parametrize("edge", [0, 1])
@pytest.mark.parametrize("towards", [-np.inf, None, np.inf])
def test_moves_at_a_tercile_get_the_same_answers(edge, towards, tmp_path):
    model = fitted("persistence", "default")
    value = np.float32(model._learned.edges[edge])
    row = np.zeros((1, N_FEATURES))
    row[0, 0] = value if towards is None else np.nextafter(value, np.float32(towards))
    require_same(model, Samples(row, np.arange(1)), tmp_path)


@pytest.mark.parametrize("name", TABLE_MODELS)
def test_extreme_values_get_the_same_answers(name, tmp_path):
    least, most = np.finfo(np.float32).tiny, float(np.finfo(np.float32).max)
    values = np.array([0.0, -0.0, least, -least, 1e-44, most, -most, 16_777_217.0, 0.1])
    rows = np.repeat(values[:, None], N_FEATURES, axis=1)
    require_same(fitted(name, "default"), Samples(rows, np.arange(len(rows))), tmp_path, tolerance=1e-5)


@pytest.mark.parametrize("name", BOOSTERS)
def test_trees_that_never_split_get_the_same_answers(name, tmp_path):
    samples, pull = problem(90)
    model = fitted(name, "default", samples=samples, pull=pull, min_leaf_rows=1_000)
    assert name == "catboost" or all(tree.is_leaf.all() for tree in model._forest().trees)
    require_same(model, samples, tmp_path)


def test_each_window_is_a_row_whatever_lies_before_it():
    """The input is (n, reach, k) for every model; one that looks at one bar has a reach of 1."""
    graph = fitted("lightgbm", "default").to_onnx().graph
    shape = [dim.dim_param or dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    answer = [dim.dim_param or dim.dim_value for dim in graph.output[0].type.tensor_type.shape.dim]
    assert ([put.name for put in graph.input], shape) == (["history"], ["n", 1, N_FEATURES])
    assert ([put.name for put in graph.output], answer) == (["outputs"], ["n", 3])
    kinds = {put.type.tensor_type.elem_type for put in (*graph.input, *graph.output)}
    assert kinds == {onnx.TensorProto.FLOAT}


@pytest.mark.parametrize("name", TABLE_MODELS)
def test_any_number_of_rows_may_be_asked_none_too(name, tmp_path):
    model = fitted(name, "lightweight")
    exported = OnnxModel(export_onnx(model, tmp_path / "model.onnx"))
    for n in (0, 1, 2, 1_000):
        assert exported.predict(np.zeros((n, 1, N_FEATURES), dtype=np.float32)).shape == (n, len(model.outputs))


@pytest.mark.parametrize("name", TABLE_MODELS)
def test_a_model_that_was_stored_is_exported_as_it_would_have_been(name, tmp_path):
    model = fitted(name, "lightweight")
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model")
    exported = [OnnxModel(export_onnx(kind, tmp_path / "m.onnx")) for kind in (model, loaded)]
    windows = with_holes().windows(1).astype(np.float32)
    np.testing.assert_array_equal(*[kind.predict(windows) for kind in exported])


@pytest.mark.market_data
@every_variant
def test_real_candles_get_the_same_answers(name, variant, market_rows, tmp_path):
    samples, labels = market_rows
    known = np.flatnonzero(labels["signal"].notna())
    learn, watch = known[:1_200], known[1_250:1_500]
    model = create_model(name, variant=variant, **({"n_rounds": 60} if name in BOOSTERS else {}))
    y = labels[model.targets[0]].to_numpy()
    model.fit(samples.take(learn), y[learn], validation=Validation(samples.take(watch), y[watch]))
    asked = np.r_[:60, 1_500:1_800]
    assert np.isnan(samples.history[asked[:60]]).any(axis=1).all(), "the first bars are in the warm-up of some feature"
    require_same(model, samples.take(asked), tmp_path, tolerance=1e-5)
    if name in BOOSTERS and model.n_parameters > 3 * model.rounds:
        require_same(model, at_real_thresholds(model, samples), tmp_path, tolerance=1e-5)


def at_real_thresholds(model, samples):
    rng, rows = np.random.default_rng(0), []
    splits = [
        (tree.feature[node], tree.threshold[node]) for tree in model._forest().trees for node in np.flatnonzero(~tree.is_leaf)
    ]
    for place in rng.permutation(len(splits))[:200]:
        feature, value = splits[place]
        for x in neighbours(value):
            row = samples.history[1_500 + rng.integers(300)].copy()
            row[feature] = x
            rows.append(row)
    return Samples(np.array(rows), np.arange(len(rows)), columns=samples.columns)


@pytest.fixture(scope="module")
def market_rows(market_data):
    raw = load_candles(market_data / "1h" / "BTC-USDT.parquet").iloc[-1_900:]
    candles, _ = repair_candles(raw, "1h", max_gap=3)
    features = compute_features(candles)
    return samples_of(features), make_labels(candles, LabelConfig())


# what would go wrong


@pytest.mark.parametrize("name", ["lightgbm", "lightgbm_regressor"])
def test_a_threshold_rounded_to_the_nearest_is_caught(name, monkeypatch, tmp_path):
    monkeypatch.setattr(lightgbm, "float32_at_or_below", lambda values: values.astype(np.float32))
    model = fitted(name, "default", learning_rate=0.3)
    with pytest.raises(BundleError, match="apart at batch"):
        require_same(model, at_thresholds(model), tmp_path, tolerance=1e-5)


def test_a_missing_value_sent_the_other_way_is_caught_and_nothing_is_written(monkeypatch, tmp_path):
    model = fitted("xgboost", "default")
    attributes = forest._node_attributes

    def turned(trees):
        found = attributes(trees)
        return {**found, "nodes_missing_value_tracks_true": [1 - way for way in found["nodes_missing_value_tracks_true"]]}

    monkeypatch.setattr(forest, "_node_attributes", turned)
    with pytest.raises(BundleError, match=r"xgboost and its ONNX form are .* apart at batch 300 in row \d+ of 300, allowed"):
        export_onnx(model, tmp_path / "model.onnx", check=with_holes())
    assert list(tmp_path.iterdir()) == []


def test_a_graph_against_the_rules_is_refused(monkeypatch, tmp_path):
    model = fitted("prior", "default")
    broken = model.to_onnx()
    broken.graph.node[0].op_type = "Gathered"
    monkeypatch.setattr(Model, "to_onnx", lambda _: broken)
    with pytest.raises(BundleError, match="prior cannot be exported"):
        export_onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_earlier_file(tmp_path):
    path = export_onnx(fitted("prior", "default"), tmp_path / "model.onnx")
    before = path.read_bytes()
    with pytest.raises(DataContractError, match="learned from 8 features and was shown 2"):
        export_onnx(fitted("prior", "default"), path, check=Samples(np.zeros((3, 2)), np.arange(3)))
    with pytest.raises(NotFittedError, match="logistic was asked"):
        export_onnx(create_model("logistic"), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_a_model_without_onnx_form_says_so(tmp_path):
    samples, pull = problem(100)
    model = Shrunken().fit(Samples(np.nan_to_num(samples.history), samples.rows), np.sign(pull))
    model._learned = model._slopes
    with pytest.raises(NotImplementedError, match="shrunken has no ONNX form"):
        export_onnx(model, tmp_path / "model.onnx")


@pytest.mark.parametrize("value", [0.1, -0.1, 1e300, -1e300, 0.0, 1.0, 1 + 1e-9, 1 - 1e-9, 1e-46, -1e-46])
def test_a_threshold_in_single_precision_parts_single_precision_numbers_as_the_double_does(value):
    kept = float32_at_or_below(np.array([value]))[0]
    with np.errstate(over="ignore"):
        near = np.float32(value)
        around = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf)), np.float32(0)]
    for x in filter(np.isfinite, around):
        assert (x <= kept) == (float(x) <= value)


def test_parameters_are_counted_as_the_libraries_list_them():
    """Thresholds and leaf values, against each library's own table of its trees."""
    xgb, lgb, cat = (fitted(name, "lightweight") for name in ("xgboost", "lightgbm", "catboost"))
    assert xgb.n_parameters == len(xgb._learned.trees_to_dataframe())
    assert lgb.n_parameters == len(lgb._learned.trees_to_dataframe())
    splits = sum(len(cat._learned._get_tree_splits(i, None)) for i in range(cat.rounds))
    assert cat.n_parameters == splits + len(cat._learned.get_leaf_values())
    assert create_model("xgboost").n_parameters == create_model("catboost").n_parameters == 0
