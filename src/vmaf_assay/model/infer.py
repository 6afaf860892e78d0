"""Query a verified ensemble: onnxruntime on the bytes that were hashed, one thread, no JAX."""

from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from vmaf_assay.errors import ModelLoadError
from vmaf_assay.model.codec_block import VOCABULARIES, codec_width
from vmaf_assay.model.onnx import check_graph
from vmaf_assay.model.sidecar import Sidecar


class Prediction(NamedTuple):
    """An ensemble's answer for N queries, VMAF points, not clipped."""

    mu: NDArray[np.float64]
    """Mean over members, [N]."""
    sigma: NDArray[np.float64]
    """Standard deviation over members, ddof 1, [N]."""
    members: NDArray[np.float64]
    """Each member's prediction, [N, M]."""


class Ensemble:
    """A fused graph and its sidecar, ready for queries."""

    def __init__(self, session: Any, sidecar: Sidecar) -> None:  # noqa: ANN401 - onnxruntime has no types
        self._session = session
        self.sidecar = sidecar

    def predict(self, features: NDArray[np.float32], codec: NDArray[np.float32]) -> Prediction:
        """Mean, spread and members for N queries.

        Args:
          features: raw features, [N, K], columns as `sidecar.feature_names`.
          codec: codec block, [N, D], of the sidecar's vocabulary version.
        """
        mu, sigma, members = self._session.run(
            ["mu", "sigma", "members"],
            {"features": features.astype(np.float32), "codec": codec.astype(np.float32)},
        )
        return Prediction(*(np.asarray(part, dtype=np.float64) for part in (mu, sigma, members)))


class OpenGraph(NamedTuple):
    """An opened graph of allowed ops."""

    model: onnx.ModelProto
    """As parsed and checked."""
    session: Any
    """onnxruntime session of the same bytes."""


def open_graph(onnx_bytes: bytes, name: str) -> OpenGraph:
    """Check a graph against the allow-list, and open it from the bytes given; `name` is for messages.

    onnxruntime does most of the work without Python's lock.

    Raises:
      ModelLoadError: the graph is not one this package writes.
    """
    import onnxruntime

    model = check_graph(onnx_bytes)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ModelLoadError(f"{name}: onnxruntime refuses it: {error}", next_step="train it again") from error
    return OpenGraph(model, session)


def described_session(graph: OpenGraph, sidecar: Sidecar) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """The session of a graph, if the graph is what a sidecar describes.

    Raises:
      ModelLoadError: it is not.
    """
    if list(VOCABULARIES[sidecar.encoder_vocab_version]) != sidecar.encoder_vocab:
        raise ModelLoadError(
            f"{sidecar.id}: its encoder vocabulary is not version {sidecar.encoder_vocab_version}",
            next_step="use the release that trained it",
        )
    inputs, outputs = graph.model.graph.input, [out.name for out in graph.model.graph.output]
    sizes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in inputs}
    expected = {
        "features": [0, len(sidecar.feature_names)],
        "codec": [0, codec_width(sidecar.encoder_vocab_version)],
    }
    if sizes != expected:
        raise ModelLoadError(
            f"{sidecar.id}: inputs are {sizes}, its sidecar says {expected}", next_step="train it again"
        )
    if outputs != (["score"] if sidecar.role == "member" else ["mu", "sigma", "members"]):
        raise ModelLoadError(f"{sidecar.id}: outputs are {outputs}", next_step="train it again")
    return graph.session


def open_session(onnx_bytes: bytes, sidecar: Sidecar) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Open a graph from the bytes given; see `open_graph` and `described_session`, which raise ModelLoadError."""
    return described_session(open_graph(onnx_bytes, sidecar.id), sidecar)


def described_ensemble(graph: OpenGraph, sidecar: Sidecar) -> Ensemble:
    """A fused graph, if a sidecar describes it. Raises ModelLoadError also for a single member."""
    if sidecar.role != "mean":
        raise ModelLoadError(f"{sidecar.id} is one member, not an ensemble", next_step="name the `_mean` row")
    return Ensemble(described_session(graph, sidecar), sidecar)


def open_ensemble(onnx_bytes: bytes, sidecar: Sidecar) -> Ensemble:
    """Open a fused graph; see `open_graph` and `described_ensemble`, which raise ModelLoadError."""
    return described_ensemble(open_graph(onnx_bytes, sidecar.id), sidecar)
