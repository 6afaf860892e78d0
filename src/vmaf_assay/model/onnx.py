"""Write a member or an ensemble as one self-contained ONNX graph, and refuse any other graph.

The scalers are inside: raw features go in, VMAF points come out. Bytes are deterministic: the same weights give
the same file.
"""

import math
from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from vmaf_assay.errors import ModelLoadError
from vmaf_assay.model.shapes import ShapeError, infer_shapes
from vmaf_assay.model.weights import MemberWeights

OPSET = 17
IR_VERSION = 9
"""Pinned: onnxruntime releases still in use refuse today's default (IR 14)."""

ALLOWED_OPS = frozenset(
    [
        "Add",
        "Concat",
        "Div",
        "Erf",
        "MatMul",
        "Mul",
        "ReduceMean",
        "ReduceSum",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
    ]
)
"""All ops that the two writers below use. None of them loops, branches, reads files, or takes a size from data."""

MAX_BYTES = 16 * 1024 * 1024
"""Largest model file opened; a shipped fused graph is about 150 kB."""

MAX_ELEMENTS = 1 << 16
"""Largest tensor a graph may make for one query, because broadcasting two small tensors can make a huge one. A
shipped fused graph makes 320."""

MAX_NODES = 1000
"""Most nodes, and most tensors, of a graph; the writers below use 40."""

_FLOAT = TensorProto.FLOAT


class _Graph:
    """Collects nodes and initializers; each call returns the name of what it adds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.float32] | NDArray[np.int64]) -> str:
        kind = TensorProto.INT64 if value.dtype == np.int64 else _FLOAT
        raw = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<")).tobytes()
        self.initializers.append(helper.make_tensor(name, kind, value.shape, raw, raw=True))
        return name

    def op(self, kind: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output


def member_graph(weights: MemberWeights) -> bytes:
    """One member: `features [N, K]` raw, `codec [N, D]` -> `score [N]`, VMAF points."""
    graph = _Graph()
    stacked = _members_score(graph, [weights])
    axis = graph.constant("axis_last", np.array([1], dtype=np.int64))
    graph.op("Squeeze", [stacked, axis], "score")
    return _serialise(graph, weights, f"member_{len(weights.b1)}", [("score", ["N"])])


def mean_graph(members: Sequence[MemberWeights]) -> bytes:
    """All M members fused: outputs `mu [N]`, `sigma [N]` (ddof 1) and `members [N, M]`, VMAF points."""
    if len(members) < 2:
        raise ModelLoadError("a mean needs two members or more", next_step="train more seeds")
    graph = _Graph()
    stacked = _members_score(graph, members)
    graph.op("Add", [stacked, graph.constant("zero", np.zeros((), dtype=np.float32))], "members")
    # opset 17: ReduceMean takes its axes as an attribute, ReduceSum as an input.
    graph.op("ReduceMean", ["members"], "mu", axes=[1], keepdims=0)
    mean = graph.op("ReduceMean", ["members"], "mean_kept", axes=[1], keepdims=1)
    gap = graph.op("Sub", ["members", mean], "gap")
    square = graph.op("Mul", [gap, gap], "gap_squared")
    axis = graph.constant("axis_last", np.array([1], dtype=np.int64))
    total = graph.op("ReduceSum", [square, axis], "gap_total", keepdims=0)
    count = graph.constant("degrees_of_freedom", np.array(len(members) - 1, dtype=np.float32))
    graph.op("Sqrt", [graph.op("Div", [total, count], "variance")], "sigma")
    outputs: list[tuple[str, list[str | int]]] = [
        ("mu", ["N"]),
        ("sigma", ["N"]),
        ("members", ["N", len(members)]),
    ]
    return _serialise(graph, members[0], "mean", outputs)


def _members_score(graph: _Graph, members: Sequence[MemberWeights]) -> str:
    """Scores of all members as [N, M]: 3-D MatMul over a leading member axis."""

    def stack(name: str, parts: list[NDArray[np.float32]], *, shape: tuple[int, ...] | None = None) -> str:
        value = np.stack([np.asarray(part, dtype=np.float32) for part in parts])
        return graph.constant(name, value if shape is None else value.reshape(shape))

    n, k, h = len(members), len(members[0].feature_mean), len(members[0].b1)
    mean = stack("feature_mean", [m.feature_mean for m in members], shape=(n, 1, k))
    std = stack("feature_std", [m.feature_std for m in members], shape=(n, 1, k))
    lead = graph.constant("axis_lead", np.array([0], dtype=np.int64))
    centred = graph.op("Sub", [graph.op("Unsqueeze", ["features", lead], "features_3d"), mean], "centred")
    scaled = graph.op("Div", [centred, std], "scaled")
    # Concat does not broadcast: the codec block is repeated for every member by adding it to zeros.
    zeros = graph.constant("member_zeros", np.zeros((n, 1, 1), dtype=np.float32))
    codec = graph.op("Unsqueeze", ["codec", lead], "codec_3d")
    hidden = graph.op("Concat", [scaled, graph.op("Add", [codec, zeros], "codec_members")], "inputs", axis=2)
    for layer, width in (("1", h), ("2", h)):
        matrix = stack(f"w{layer}", [getattr(m, f"w{layer}") for m in members])
        bias = stack(f"b{layer}", [getattr(m, f"b{layer}") for m in members], shape=(n, 1, width))
        linear = graph.op("Add", [graph.op("MatMul", [hidden, matrix], f"matmul{layer}"), bias], f"linear{layer}")
        hidden = _gelu(graph, linear, layer)
    matrix = stack("w3", [m.w3 for m in members])
    bias = stack("b3", [m.b3 for m in members], shape=(n, 1, 1))
    linear = graph.op("Add", [graph.op("MatMul", [hidden, matrix], "matmul3"), bias], "linear3")
    scale = stack("target_std", [m.target_std for m in members], shape=(n, 1, 1))
    shift = stack("target_mean", [m.target_mean for m in members], shape=(n, 1, 1))
    points = graph.op("Add", [graph.op("Mul", [linear, scale], "unscaled"), shift], "points")
    last = graph.constant("axis_two", np.array([2], dtype=np.int64))
    return graph.op("Transpose", [graph.op("Squeeze", [points, last], "points_mn")], "points_nm", perm=[1, 0])


def _gelu(graph: _Graph, x: str, layer: str) -> str:
    """0.5 x (1 + erf(x / sqrt 2)), the exact form."""
    root = graph.constant(f"sqrt2_{layer}", np.array(np.sqrt(2), dtype=np.float32))
    one = graph.constant(f"one_{layer}", np.array(1, dtype=np.float32))
    half = graph.constant(f"half_{layer}", np.array(0.5, dtype=np.float32))
    error = graph.op("Erf", [graph.op("Div", [x, root], f"scaled_{layer}")], f"erf_{layer}")
    gate = graph.op("Mul", [graph.op("Add", [error, one], f"one_plus_{layer}"), half], f"gate_{layer}")
    return graph.op("Mul", [x, gate], f"gelu_{layer}")


def _serialise(
    graph: _Graph, weights: MemberWeights, name: str, outputs: Sequence[tuple[str, list[str | int]]]
) -> bytes:
    k = len(weights.feature_mean)
    d = weights.w1.shape[0] - k
    inputs = [
        helper.make_tensor_value_info("features", _FLOAT, ["N", k]),
        helper.make_tensor_value_info("codec", _FLOAT, ["N", d]),
    ]
    results = [helper.make_tensor_value_info(out, _FLOAT, shape) for out, shape in outputs]
    proto = helper.make_graph(graph.nodes, name, inputs, results, initializer=graph.initializers)
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="vmaf-assay"
    )
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    check_graph(data)
    return data


def check_graph(data: bytes) -> onnx.ModelProto:
    """Parse model bytes and refuse anything that the writers here would not write.

    Raises:
      ModelLoadError: not ONNX or too large. Also for external data, an op outside `ALLOWED_OPS`, a subgraph, a
        function, a foreign opset domain, or another IR or opset. Also for a tensor whose bytes do not fill its
        shape, is of unknown shape, or has more than `MAX_ELEMENTS` for one query.
    """
    if len(data) > MAX_BYTES:
        raise ModelLoadError(f"model has {len(data)} bytes, over {MAX_BYTES}", next_step=_NEXT)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError is not one class across its implementations
        raise ModelLoadError("model is not readable ONNX", next_step=_NEXT) from error
    opsets = [(opset.domain, opset.version) for opset in model.opset_import]
    if model.ir_version != IR_VERSION or opsets != [("", OPSET)]:
        raise ModelLoadError(f"model is not IR {IR_VERSION} with opset {OPSET}", next_step=_NEXT)
    if model.functions or model.training_info or model.graph.sparse_initializer:
        raise ModelLoadError("model holds functions, training graphs or sparse tensors", next_step=_NEXT)
    if max(len(model.graph.node), len(model.graph.initializer)) > MAX_NODES:
        raise ModelLoadError(f"model has over {MAX_NODES} nodes or tensors", next_step=_NEXT)
    for tensor in model.graph.initializer:
        _check_tensor(tensor)
    for node in model.graph.node:
        _check_node(node)
    _check_shapes(model)
    return model


_NEXT = "use a model written by `assay train`"


def check_self_contained(data: bytes) -> None:
    """Refuse a model that may keep tensors in other files, without parsing it.

    ONNX names such a file by an entry with the key `location`, which is plain text in the model's bytes. No model
    written here contains that word.

    Raises:
      ModelLoadError: the word is there.
    """
    if b"location" in data:
        raise ModelLoadError("a tensor of the model lies outside the model file", next_step=_NEXT)


def _check_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise ModelLoadError(f"tensor {tensor.name!r} lies outside the model file", next_step=_NEXT)
    size = {_FLOAT: 4, TensorProto.INT64: 8}.get(tensor.data_type)
    n_items = 1
    for dim in tensor.dims:
        n_items *= dim
    typed = (tensor.float_data, tensor.int64_data, tensor.int32_data, tensor.double_data, tensor.string_data)
    if size is None or min(tensor.dims, default=1) < 1 or len(tensor.raw_data) != n_items * size or any(typed):
        raise ModelLoadError(f"tensor {tensor.name!r} has another type or size than it says", next_step=_NEXT)


def _check_node(node: onnx.NodeProto) -> None:
    if node.domain or node.op_type not in ALLOWED_OPS:
        raise ModelLoadError(f"op {node.domain}{node.op_type!r} is not allowed", next_step=_NEXT)
    kinds = {onnx.AttributeProto.INT, onnx.AttributeProto.INTS}
    if any(attribute.type not in kinds for attribute in node.attribute):
        raise ModelLoadError(f"node {node.name!r} holds a graph, tensor or text", next_step=_NEXT)


def _check_shapes(model: onnx.ModelProto) -> None:
    """Infer every shape again; the shapes in the file are untrusted."""
    try:
        shapes = infer_shapes(model.graph)
    except ShapeError as error:
        raise ModelLoadError(
            f"the shapes of the model's tensors contradict each other ({error})", next_step=_NEXT
        ) from error
    for name, dims in shapes.items():
        # Only N, the number of queries, is open, and once a tensor; it counts as one.
        sizes = [1 if dim == "N" else int(dim) for dim in dims]
        if dims.count("N") > 1 or not sizes or not 0 < math.prod(sizes) <= MAX_ELEMENTS:
            raise ModelLoadError(f"tensor {name!r} has no bounded shape", next_step=_NEXT)
