"""A model file says what NumPy says, is always the same bytes, and any other kind of file is refused."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.model.conftest import random_member
from vmaf_assay.errors import ModelLoadError
from vmaf_assay.model.onnx import (
    ALLOWED_OPS,
    MAX_BYTES,
    MAX_NODES,
    check_graph,
    check_self_contained,
    mean_graph,
    member_graph,
)
from vmaf_assay.model.shapes import infer_shapes
from vmaf_assay.model.weights import reference_predict

MEMBERS = [random_member(seed) for seed in range(5)]
RNG = np.random.default_rng(4)
FEATURES = RNG.normal(size=(50, 12)).astype(np.float32)
CODEC = RNG.random((50, 20)).astype(np.float32)
EXPECTED = np.stack([reference_predict(member, FEATURES, CODEC) for member in MEMBERS], axis=1)
TOLERANCE = 2e-3
"""VMAF points: float32 in the graph against float64 in NumPy."""


def run(data: bytes, rows: slice = slice(None)) -> list[np.ndarray]:
    """Every output of a graph."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {"features": FEATURES[rows], "codec": CODEC[rows]})


def test_member_graph_is_the_reference():
    """`score [N]` in VMAF points from raw features, for many rows and for one."""
    for index, member in enumerate(MEMBERS):
        data = member_graph(member)
        (score,) = run(data)
        assert score.shape == (50,)
        np.testing.assert_allclose(score, EXPECTED[:, index], rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(run(data, slice(7, 8))[0], EXPECTED[7:8, index], rtol=0, atol=TOLERANCE)


def test_mean_graph_is_the_reference():
    """`mu`, `sigma` with ddof 1, and `members [N, 5]` in the order given."""
    mu, sigma, members = run(mean_graph(MEMBERS))
    assert (mu.shape, sigma.shape, members.shape) == ((50,), (50,), (50, 5))
    np.testing.assert_allclose(members, EXPECTED, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(mu, EXPECTED.mean(axis=1), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(sigma, EXPECTED.std(axis=1, ddof=1), rtol=0, atol=TOLERANCE)
    assert np.abs(EXPECTED.std(axis=1, ddof=1) - EXPECTED.std(axis=1)).max() > 10 * TOLERANCE


def test_bytes_are_a_function_of_the_weights():
    """The same weights, made anew, give the same file; one weight changed in its last bit gives another."""
    again = [random_member(seed) for seed in range(5)]
    assert mean_graph(again) == mean_graph(MEMBERS)
    assert member_graph(again[0]) == member_graph(MEMBERS[0])
    again[4].w2[3, 3] = np.nextafter(again[4].w2[3, 3], np.float32(9))
    assert mean_graph(again) != mean_graph(MEMBERS)


@pytest.mark.parametrize("data", [member_graph(MEMBERS[0]), mean_graph(MEMBERS)], ids=["member", "mean"])
def test_file_is_self_contained_and_pinned(data):
    """Opset 17, IR 9, no external data, allowed ops only, inputs `features [N, 12]` and `codec [N, 20]`."""
    model = onnx.load_from_string(data)
    assert (model.ir_version, model.opset_import[0].version) == (9, 17)
    assert {node.op_type for node in model.graph.node} <= ALLOWED_OPS
    assert all(not tensor.external_data for tensor in model.graph.initializer)
    shapes = {
        i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input
    }
    assert shapes == {"features": ["N", 12], "codec": ["N", 20]}
    assert len(data) < 200_000


def test_every_allowed_op_is_used():
    """The allow-list holds no op that the writers do not need."""
    used = {
        n.op_type for data in (member_graph(MEMBERS[0]), mean_graph(MEMBERS)) for n in check_graph(data).graph.node
    }
    assert used == ALLOWED_OPS


@pytest.mark.parametrize("data", [member_graph(MEMBERS[0]), mean_graph(MEMBERS)], ids=["member", "mean"])
def test_shapes_are_those_that_onnx_infers(data):
    """Every tensor's shape, worked out here, is what onnx's own inference says."""
    model = onnx.load_from_string(data)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    said = {
        info.name: tuple(dim.dim_param or dim.dim_value for dim in info.type.tensor_type.shape.dim)
        for info in (*inferred.value_info, *inferred.output)
    }
    assert infer_shapes(model.graph) == said
    assert len(said) == len(model.graph.node)


def test_one_member_is_no_ensemble():
    """A spread needs two."""
    with pytest.raises(ModelLoadError, match="two members"):
        mean_graph(MEMBERS[:1])


def outside(model: onnx.ModelProto) -> None:
    """A tensor in another file."""
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def outside_quietly(model: onnx.ModelProto) -> None:
    """A tensor that names another file but says it is inside."""
    model.graph.initializer[0].external_data.add(key="location", value="weights.bin")


def branch(model: onnx.ModelProto) -> None:
    """Control flow."""
    empty = helper.make_graph([], "empty", [], [])
    model.graph.node.append(helper.make_node("If", ["mu"], ["x"], then_branch=empty, else_branch=empty))


def smuggled_subgraph(model: onnx.ModelProto) -> None:
    """A graph in an attribute of an allowed op."""
    model.graph.node[0].attribute.append(helper.make_attribute("body", helper.make_graph([], "empty", [], [])))


def foreign_domain(model: onnx.ModelProto) -> None:
    """An op of another domain under an allowed name."""
    model.graph.node[0].domain = "com.microsoft"


def foreign_opset(model: onnx.ModelProto) -> None:
    """Another domain declared."""
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def newer_opset(model: onnx.ModelProto) -> None:
    """An opset whose ops mean something else."""
    model.opset_import[0].version = 18


def newer_ir(model: onnx.ModelProto) -> None:
    """A newer file format."""
    model.ir_version = 10


def function(model: onnx.ModelProto) -> None:
    """A local function."""
    model.functions.add(name="f", domain="local")


def short_tensor(model: onnx.ModelProto) -> None:
    """Fewer bytes than the shape needs."""
    tensor = next(t for t in model.graph.initializer if t.name == "w2")
    tensor.raw_data = tensor.raw_data[:-4]


def other_type(model: onnx.ModelProto) -> None:
    """The right bytes as another type."""
    next(t for t in model.graph.initializer if t.name == "w2").data_type = TensorProto.FLOAT16


def negative_size(model: onnx.ModelProto) -> None:
    """Two negative sizes, whose product is right."""
    tensor = next(t for t in model.graph.initializer if t.name == "w2")
    tensor.dims[0], tensor.dims[1] = -tensor.dims[0], -tensor.dims[1]


def broadcast_bomb(model: onnx.ModelProto) -> None:
    """Two small tensors that make a large one."""
    for name, shape in (("tall", (4096, 1)), ("wide", (1, 4096))):
        raw = np.zeros(shape, dtype=np.float32).tobytes()
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, shape, raw, raw=True))
    model.graph.node.append(helper.make_node("Add", ["tall", "wide"], ["bomb"]))


def square_in_n(model: onnx.ModelProto) -> None:
    """A tensor that grows with the square of the queries."""
    model.graph.node.append(helper.make_node("Transpose", ["members"], ["turned"], perm=[1, 0]))
    model.graph.node.append(helper.make_node("MatMul", ["members", "turned"], ["n_by_n"]))


def contradiction(model: onnx.ModelProto) -> None:
    """Shapes that cannot be added."""
    model.graph.node.append(helper.make_node("Add", ["features", "codec"], ["no_such_sum"]))


def text_attribute(model: onnx.ModelProto) -> None:
    """Text in an attribute."""
    model.graph.node[0].attribute.append(helper.make_attribute("path", "text"))


def two_datas(model: onnx.ModelProto) -> None:
    """A tensor with a second set of values."""
    next(t for t in model.graph.initializer if t.name == "w2").float_data.append(1.0)


def endless(model: onnx.ModelProto) -> None:
    """A thousand nodes more."""
    last = "mu"
    for index in range(MAX_NODES):
        model.graph.node.append(helper.make_node("Add", [last, "mu"], [last := f"more{index}"]))


def open_axis(model: onnx.ModelProto) -> None:
    """An axis that is computed."""
    model.graph.node.append(helper.make_node("Squeeze", ["members", "mu"], ["squeezed"]))


def no_such_axis(model: onnx.ModelProto) -> None:
    """An axis beyond the rank."""
    model.graph.node.append(helper.make_node("ReduceMean", ["members"], ["reduced"], axes=[2]))


def not_one(model: onnx.ModelProto) -> None:
    """A dimension of five taken away as if it were one."""
    model.graph.node.append(helper.make_node("Squeeze", ["members", "axis_last"], ["squeezed"]))


def unknown_attribute(model: onnx.ModelProto) -> None:
    """An attribute that the op does not have."""
    model.graph.node.append(helper.make_node("Sqrt", ["mu"], ["root"], speed=11))


def made_later(model: onnx.ModelProto) -> None:
    """A node that reads what a later one makes."""
    model.graph.node.insert(0, helper.make_node("Sqrt", ["mu"], ["root"]))


def made_twice(model: onnx.ModelProto) -> None:
    """Two nodes that make one tensor."""
    model.graph.node.append(helper.make_node("Sqrt", ["mu"], ["sigma"]))


def nameless(model: onnx.ModelProto) -> None:
    """An output that nothing makes."""
    model.graph.output[0].name = "elsewhere"


def shadowed_input(model: onnx.ModelProto) -> None:
    """A tensor under the name of an input, so that what is asked would not count."""
    raw = np.zeros((1, 12), np.float32).tobytes()
    model.graph.initializer.append(helper.make_tensor("features", TensorProto.FLOAT, (1, 12), raw, raw=True))


BREAKS: dict[Callable[[onnx.ModelProto], None], str] = {
    outside: "outside the model file",
    outside_quietly: "outside the model file",
    branch: "'If' is not allowed",
    smuggled_subgraph: "holds a graph",
    foreign_domain: "is not allowed",
    foreign_opset: "opset 17",
    newer_opset: "opset 17",
    newer_ir: "IR 9",
    function: "functions",
    short_tensor: "'w2' has another type or size",
    other_type: "'w2' has another type or size",
    negative_size: "'w2' has another type or size",
    broadcast_bomb: "'bomb' has no bounded shape",
    square_in_n: "'n_by_n' has no bounded shape",
    contradiction: "contradict",
    open_axis: "contradict",
    no_such_axis: "contradict",
    not_one: "contradict",
    unknown_attribute: "contradict",
    made_later: "contradict",
    made_twice: "contradict",
    nameless: "contradict",
    shadowed_input: "contradict",
    two_datas: "'w2' has another type or size",
    endless: "over 1000 nodes",
    text_attribute: "holds a graph, tensor or text",
}


@pytest.mark.parametrize(("spoil", "says"), BREAKS.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_what_the_writers_would_not_write_is_refused(spoil, says):
    """One thing wrong with a good file, and it is refused by that name."""
    model = onnx.load_from_string(mean_graph(MEMBERS))
    spoil(model)
    with pytest.raises(ModelLoadError, match=says):
        check_graph(model.SerializeToString())


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "IR 9"),
        (b"not a model", "not readable"),
        (mean_graph(MEMBERS)[:-1000], "not readable"),
        (bytes(MAX_BYTES + 1), "over"),
    ],
    ids=["empty", "text", "cut", "large"],
)
def test_what_is_no_model_is_refused(data, says):
    """Empty, foreign, cut and oversized bytes."""
    with pytest.raises(ModelLoadError, match=says):
        check_graph(data)


def test_other_files_show_in_the_bytes():
    """A tensor in another file is told by a word in the model; without it onnxruntime reads no other file."""
    data = member_graph(MEMBERS[0])
    check_self_contained(data)
    model = onnx.load_from_string(data)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "w1")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    for key in ("offset", "length"):
        tensor.external_data.add(key=key, value="0")
    wordless = bytes(model.SerializeToString())
    check_self_contained(wordless)
    with pytest.raises(Exception, match="location"):
        onnxruntime.InferenceSession(wordless, providers=["CPUExecutionProvider"])
    tensor.external_data.add(key="location", value="weights.bin")
    with pytest.raises(ModelLoadError, match="outside the model file"):
        check_self_contained(bytes(model.SerializeToString()))
