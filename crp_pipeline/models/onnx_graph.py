"""How an exported model is put together: one input, one output, both of fixed names."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

HISTORY, FEATURES, OUTPUTS = "history", "features", "outputs"
"""The input (n, reach, k), its last bar (n, k), and the output (n, outputs)."""
FLOAT, INT64, DOUBLE = 1, 7, 11
"""Numbers of element types in `TensorProto.DataType`."""
ML_DOMAIN = "ai.onnx.ml"
OPSET, ML_OPSET, IR_VERSION = 18, 3, 10


def node(operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
    """One operator of ONNX's own with one output, which gives the node its name."""
    from onnx import helper

    return helper.make_node(operator, list(inputs), [output], name=output, **attributes)


def table_model(nodes: Sequence[Any], constants: Mapping[str, np.ndarray], *, n_features: int, n_outputs: int) -> Any:
    """A model of one bar: `nodes` lead from `FEATURES`, float32 (n, k), to `OUTPUTS`, float32 (n, outputs)."""
    from onnx import TensorProto, helper, numpy_helper

    history = helper.make_tensor_value_info(HISTORY, TensorProto.FLOAT, ["n", 1, n_features])
    outputs = helper.make_tensor_value_info(OUTPUTS, TensorProto.FLOAT, ["n", n_outputs])
    tensors = [numpy_helper.from_array(np.asarray(values), name) for name, values in {**constants, "bar": np.array(0)}.items()]
    last_bar = node("Gather", [HISTORY, "bar"], FEATURES, axis=1)
    graph = helper.make_graph([last_bar, *nodes], "model", [history], [outputs], tensors)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(ML_DOMAIN, ML_OPSET)]
    return helper.make_model(graph, producer_name="crp_pipeline", opset_imports=opsets, ir_version=IR_VERSION)
