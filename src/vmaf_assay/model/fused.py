"""Whether a fused graph is what its members give, byte for byte: weights read out of graphs and written again."""

from collections.abc import Sequence

import numpy as np
from onnx import numpy_helper

from vmaf_assay.errors import ModelLoadError
from vmaf_assay.model.onnx import check_graph, mean_graph, member_graph
from vmaf_assay.model.weights import MemberWeights

_NEXT = "train again"


def weights_of(member: bytes) -> MemberWeights:
    """The weights of a member's graph.

    Raises:
      ModelLoadError: it is not, byte for byte, a graph that this package writes of any weights.
    """
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in check_graph(member).graph.initializer}
    try:
        one = {name: np.array(tensors[name][0], dtype=np.float32) for name in _STACKED}
    except (KeyError, IndexError) as error:
        raise ModelLoadError("a member holds other tensors than a member has", next_step=_NEXT) from error
    flat = {name: one[name].reshape(-1) for name in ("feature_mean", "feature_std", "b1", "b2", "b3")}
    scale = {name: one[name].reshape(()) if one[name].size == 1 else one[name] for name in _SCALARS}
    weights = MemberWeights(**(one | flat | scale))
    try:
        again = member_graph(weights)
    except Exception as error:  # onnx's checker has exceptions of its own
        raise ModelLoadError("a member's weights do not fit each other", next_step=_NEXT) from error
    if again != member:
        raise ModelLoadError("a member is not the graph that its weights give", next_step=_NEXT)
    return weights


_SCALARS = ("target_mean", "target_std")
_STACKED = ("feature_mean", "feature_std", *_SCALARS, "w1", "b1", "w2", "b2", "w3", "b3")


def check_fused(mean: bytes, members: Sequence[bytes]) -> None:
    """Refuse a fused graph that is not, byte for byte, what its members give.

    Args:
      mean: the fused graph.
      members: the members' graphs, in order of their seeds.

    Raises:
      ModelLoadError: it is not, or a member is not a graph of this package.
    """
    if mean_graph([weights_of(member) for member in members]) != mean:
        raise ModelLoadError("the fused graph is not what its members give", next_step=_NEXT)
