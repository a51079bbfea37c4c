"""A torch network as an ONNX graph."""

import io
import warnings
from typing import Any

import torch
from torch import nn

from crp_pipeline.models.onnx_graph import HISTORY, OUTPUTS


def torch_to_onnx(network: nn.Module, *, reach: int, n_features: int) -> Any:
    """The `onnx.ModelProto` of a network from `history` (n, reach, n_features) to `outputs`; n is free.

    By the exporter that records a run: a tenth of the other's time, and smaller graphs; nothing here depends on values.
    """
    import onnx

    file = io.BytesIO()
    example = torch.zeros(2, reach, n_features)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="Converting a tensor to a Python")
        warnings.filterwarnings("ignore", message="Constant folding", category=UserWarning)
        # an LSTM's graph has no fixed batch size: its initial state is made from its input
        warnings.filterwarnings("ignore", message="Exporting a model to ONNX with a batch_size other than 1")
        torch.onnx.export(
            network.cpu().eval(),
            (example,),
            file,  # type: ignore[arg-type]
            dynamo=False,
            input_names=[HISTORY],
            output_names=[OUTPUTS],
            dynamic_axes={HISTORY: {0: "n"}, OUTPUTS: {0: "n"}},
        )
    return onnx.load_from_string(file.getvalue())
