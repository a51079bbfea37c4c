"""A bundle that is not what it says, or could execute, is refused with one error; a sound one says what it holds."""

import json
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from crp_pipeline.contracts import Samples
from crp_pipeline.errors import BundleError, DataContractError
from crp_pipeline.models import MODEL_TYPES, create_model, load_bundle, samples_of, save_bundle
from crp_pipeline.models.base import INPUTS
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.storage import MANIFEST, seal
from crp_pipeline_tests.recording import learnable_history

BOOSTERS = ("xgboost", "lightgbm", "catboost", "xgboost_regressor", "lightgbm_regressor")
TABLE_MODELS = ("prior", "persistence", "logistic", *BOOSTERS)
COLUMNS = ("x0", "noise", "scale")
PARAMS = {name: {"n_rounds": 5, "min_leaf_rows": 20} for name in BOOSTERS} | {"persistence": {"column": "x0"}}
each_model = pytest.mark.parametrize("name", TABLE_MODELS)
each_booster = pytest.mark.parametrize("name", BOOSTERS)


def fitted(name):
    features, labels = learnable_history(400)
    samples, rows = samples_of(features), np.arange(390)
    model = create_model(name, **PARAMS.get(name, {}))
    return model.fit(samples.take(rows), labels[model.targets[0]].to_numpy()[rows]), samples


@pytest.fixture
def bundle(tmp_path):
    def make(name, **card):
        model, samples = fitted(name)
        folder = save_bundle(model, tmp_path / name, card={"feature_set_id": "fs1", **card}, golden=samples.take(np.arange(20)))
        load_bundle(folder, feature_set_id="fs1", columns=COLUMNS)
        return folder

    return make


def reseal(folder, **changes):
    """Seal again whatever lies there, as somebody with write access could."""
    card = {
        name: value for name, value in json.loads((folder / MANIFEST).read_text()).items() if name not in {"files", "format"}
    }
    seal(folder, {**card, **changes})


def own_file(folder):
    return folder / MODEL_CLASSES[json.loads((folder / MANIFEST).read_text())["model_type"]].file_name


# what a card says


@each_model
def test_the_card_says_what_the_model_is(name, bundle):
    folder = bundle(name, coin="BTC-USDT")
    model, card = load_bundle(folder)
    said = {key: card[key] for key in ("model_type", "n_parameters", "reach", "outputs", "targets", "features", "coin")}
    assert said == {
        "model_type": name,
        "n_parameters": model.n_parameters,
        "reach": 1,
        "outputs": list(model.outputs),
        "targets": list(model.targets),
        "features": list(COLUMNS),
        "coin": "BTC-USDT",
    }
    assert card["n_parameters"] > 0
    assert (model.columns, model.n_features) == (COLUMNS, 3)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"n_parameters": 4}, "the card says n_parameters = 4, of the model it is 3"),
        ({"reach": 48}, "the card says reach = 48, of the model it is 1"),
        ({"outputs": ["down", "up"]}, r"the card says outputs = \['down', 'up'\]"),
        ({"targets": None}, "the card says targets = None"),
        ({"features": ["noise", "x0", "scale"]}, "'x0' as feature 1, the table at hand has 'noise' there"),
        ({"model_type": ["prior"]}, "which this version does not know"),
        ({"model_type": "logistic"}, "cannot be loaded: FileNotFoundError"),
    ],
)
def test_a_card_of_another_model_is_refused(change, told, bundle):
    folder = bundle("prior")
    reseal(folder, **change)
    with pytest.raises(BundleError, match=told):
        load_bundle(folder)


def test_a_card_that_names_other_features_is_not_saved(tmp_path):
    model, samples = fitted("prior")
    with pytest.raises(BundleError, match="trained on 'noise' as feature 2, the table at hand has None there"):
        save_bundle(model, tmp_path / "m", card={"features": ["x0"]}, golden=samples.take(np.arange(3)))
    assert list(tmp_path.iterdir()) == []


# columns


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (("noise", "x0", "scale"), "trained on 'x0' as feature 1, the table at hand has 'noise' there"),
        (("x0", "noise"), "trained on 'scale' as feature 3, the table at hand has None there"),
        (("x0", "noise", "scale", "more"), "trained on None as feature 4, the table at hand has 'more' there"),
        ((), "trained on 'x0' as feature 1, the table at hand has None there"),
    ],
)
def test_a_bundle_of_other_columns_or_another_order_is_refused(columns, told, bundle):
    with pytest.raises(BundleError, match=told):
        load_bundle(bundle("prior"), columns=columns)


@each_model
def test_a_model_is_asked_about_the_features_it_was_fitted_on_in_their_order(name, bundle):
    model, samples = fitted(name)
    loaded, _ = load_bundle(bundle(name))
    swapped = Samples(samples.history[:, [1, 0, 2]], samples.rows, columns=("noise", "x0", "scale"))
    for kind in (model, loaded):
        with pytest.raises(DataContractError, match=f"{name} learned from 'x0' as feature 1 and was shown 'noise'"):
            kind.predict(swapped)
        with pytest.raises(DataContractError, match=f"{name} learned from 3 features and was shown 2"):
            kind.predict(Samples(samples.history[:, :2], samples.rows))
        with pytest.raises(DataContractError, match="learned from 'scale' as feature 3 and was shown None"):
            kind.predict(Samples(samples.history[:, :2], samples.rows, columns=("x0", "noise")))
        nameless = Samples(samples.history, samples.rows)
        np.testing.assert_array_equal(kind.predict(nameless), model.predict(samples))


def test_a_refit_on_other_columns_asks_for_those():
    model, samples = fitted("prior")
    other = Samples(samples.history[:, :2], samples.rows, columns=("a", "b"))
    model.fit(other, np.resize([-1.0, 1.0], len(other)))
    assert (model.columns, model.n_features) == (("a", "b"), 2)
    with pytest.raises(DataContractError, match="learned from 'a'"):
        model.predict(samples)


# what is no data


class Bomb:
    def __reduce__(self):
        return exec, ("raise AssertionError('something was unpickled')",)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "kind", [Bomb(), {"weights": [1.0]}, [1, 2], "text", OrderedDict(a=1)], ids=lambda kind: type(kind).__name__
)
@each_booster
def test_a_pickle_in_the_place_of_the_model_is_refused_though_the_manifest_vouches_for_it(name, kind, protocol, bundle):
    folder = bundle(name)
    own_file(folder).write_bytes(pickle.dumps(kind, protocol=protocol))
    reseal(folder)
    with pytest.raises(BundleError, match=f"{own_file(folder).name} is a pickle, which could execute"):
        load_bundle(folder)


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".joblib", ".pt", ".pth", ".PKL"])
def test_a_file_named_like_a_pickle_is_refused_whatever_it_holds(suffix, bundle):
    folder = bundle("prior")
    (folder / f"extra{suffix}").write_text("{}")
    reseal(folder)
    with pytest.raises(BundleError, match=rf"extra\{suffix} is a pickle"):
        load_bundle(folder)


@pytest.mark.parametrize("n_bytes", [640, 896, 1_152, 1_408])
def test_a_safetensors_file_is_not_taken_for_a_pickle(n_bytes, bundle, tmp_path):
    """A header of these lengths begins like a pickle: 0x80 and a version."""
    folder = bundle("prior")
    (folder / "weights.safetensors").write_bytes(n_bytes.to_bytes(8, "little") + b"{}".ljust(n_bytes))
    reseal(folder)
    load_bundle(folder)


def test_arrays_of_objects_are_not_unpickled(bundle):
    folder = bundle("prior")
    np.savez(folder / "golden.npz", inputs=np.array([Bomb()], dtype=object), outputs=np.zeros((1, 3)))
    reseal(folder)
    with pytest.raises(BundleError, match="cannot be loaded: ValueError: Object arrays cannot be loaded"):
        load_bundle(folder)


@pytest.mark.parametrize("text", ["", "{", "not json", '{"short": NaN}', "Infinity", "\x00", "[" * 100_000])
@pytest.mark.parametrize("file", ["prior.json", INPUTS])
def test_what_is_no_json_is_refused(file, text, bundle):
    folder = bundle("prior")
    (folder / file).write_text(text)
    reseal(folder)
    with pytest.raises(BundleError, match=f"{file} is not JSON"):
        load_bundle(folder)


@pytest.mark.parametrize("text", ["[]", "{}", '{"short": "a", "neutral": 1, "long": 1}', '{"short": null}', "7"])
def test_json_of_another_kind_is_refused(text, bundle):
    folder = bundle("prior")
    (folder / "prior.json").write_text(text)
    reseal(folder)
    with pytest.raises(BundleError, match="cannot be loaded"):
        load_bundle(folder)


# damage


@each_model
def test_a_truncated_file_is_refused(name, bundle):
    folder = bundle(name)
    own_file(folder).write_bytes(own_file(folder).read_bytes()[:-1])
    with pytest.raises(BundleError, match=f"{own_file(folder).name} has been altered"):
        load_bundle(folder)


@each_model
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused_though_the_manifest_vouches_for_it(name, share, bundle):
    folder = bundle(name)
    content = own_file(folder).read_bytes()
    own_file(folder).write_bytes(content[: int(share * len(content))])
    reseal(folder)
    with pytest.raises(BundleError):
        load_bundle(folder)


@each_model
def test_garbage_is_refused_though_the_manifest_vouches_for_it(name, bundle):
    folder = bundle(name)
    own_file(folder).write_bytes(np.random.default_rng(0).bytes(500))
    reseal(folder)
    with pytest.raises(BundleError):
        load_bundle(folder)


def edited(key, value, *, tree=0):
    """Replace the line of a key in one tree of LightGBM's text, and the tree's size in the header."""

    def change(text):
        header, *trees = text.split("Tree=")
        lines = trees[tree].split("\n")
        place = next(i for i, line in enumerate(lines) if line.startswith(f"{key}="))
        grown = len(f"{key}={value}") - len(lines[place])
        lines[place] = f"{key}={value}"
        trees[tree] = "\n".join(lines)
        sizes = header.split("tree_sizes=")[1].split("\n")[0]
        counted = [int(size) + grown * (i == tree) for i, size in enumerate(sizes.split())]
        header = header.replace(f"tree_sizes={sizes}", f"tree_sizes={' '.join(map(str, counted))}")
        return "Tree=".join([header, *trees])

    return change


@pytest.mark.parametrize(
    "change",
    [
        edited("left_child", "0 0 0"),
        edited("split_feature", "99 0 0 0 0 0 0"),
        edited("threshold", "x"),
        edited("leaf_value", "1"),
        edited("num_leaves", "100000", tree=3),
        edited("num_leaves", ""),
        lambda text: text.replace("tree_sizes=", "tree_sizes=9"),
        lambda text: text.replace("tree_sizes=", "tree_size="),
        lambda text: text.replace("end of trees", ""),
    ],
)
def test_a_tree_that_would_bring_the_process_down_is_refused(change, bundle):
    folder = bundle("lightgbm")
    text = own_file(folder).read_text()
    assert change(text) != text
    own_file(folder).write_text(change(text))
    reseal(folder)
    with pytest.raises(BundleError, match="LightGBM's model file"):
        load_bundle(folder)


@pytest.mark.parametrize("towards", ["itself", "beyond"])
def test_a_tree_that_leads_in_a_circle_is_refused(towards, bundle):
    folder = bundle("lightgbm")
    text = own_file(folder).read_text()
    children = next(line for line in text.split("\n") if line.startswith("left_child=")).split("=")[1].split()
    circle = " ".join(["0" if towards == "itself" else "9999", *children[1:]])
    own_file(folder).write_text(edited("left_child", circle)(text))
    reseal(folder)
    with pytest.raises(BundleError, match="damaged in tree 0 of 15"):
        load_bundle(folder)


def test_golden_inputs_of_another_width_are_refused(bundle):
    folder = bundle("prior")
    np.savez(folder / "golden.npz", inputs=np.zeros((2, 1, 5)), outputs=np.zeros((2, 3)))
    reseal(folder)
    with pytest.raises(BundleError, match="prior learned from 3 features and was shown 5"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["golden.npz", INPUTS])
def test_a_missing_file_is_refused_though_the_manifest_does_not_list_it(name, bundle):
    folder = bundle("prior")
    (folder / name).unlink()
    reseal(folder)
    with pytest.raises(BundleError, match="cannot be loaded: FileNotFoundError"):
        load_bundle(folder)


def test_each_model_of_a_table_is_bundled_here():
    assert set(TABLE_MODELS) <= set(MODEL_TYPES)
