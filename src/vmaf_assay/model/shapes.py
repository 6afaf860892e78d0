"""Shapes of a graph's tensors, inferred for the ops that `model/onnx.py` allows.

The shapes in the file are untrusted. onnx's `infer_shapes` gives the same (tests compare). But it first registers
every op of every opset, which was most of a verified load's part of a cold start.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto

Dim = int | str
"""A size, or `N`, the number of queries."""
Shape = tuple[Dim, ...]


class ShapeError(ValueError):
    """The shapes of the graph cannot be inferred."""


def infer_shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    """The shape of every tensor that the nodes make, by name.

    Raises:
      ShapeError: mismatched sizes, an operand that no earlier node made, a name used twice, a variable axis, or
        attributes that the op does not have.
    """
    shapes, axes = _given(graph)
    made: dict[str, Shape] = {}
    for node in graph.node:
        attributes = {
            a.name: list(a.ints) if a.type == onnx.AttributeProto.INTS else [a.i] for a in node.attribute
        }
        try:
            rule = _RULES[node.op_type]
            shape = rule(list(node.input), shapes, axes, attributes)
            (name,) = node.output
        except (KeyError, ValueError, IndexError) as error:
            raise ShapeError(f"node {node.name!r}") from error
        if attributes or not name or name in shapes or name in axes:
            raise ShapeError(f"node {node.name!r}")
        shapes[name] = made[name] = shape
    if missing := [output.name for output in graph.output if output.name not in made]:
        raise ShapeError(f"output {missing[0]!r}")
    return made


_Axes = Mapping[str, list[int]]
_Attributes = dict[str, list[int]]
_Rule = Callable[[list[str], Mapping[str, Shape], _Axes, _Attributes], Shape]


def _given(graph: onnx.GraphProto) -> tuple[dict[str, Shape], dict[str, list[int]]]:
    """Shapes of inputs and float tensors, and the values of int64 tensors, which can only be axes."""
    shapes: dict[str, Shape] = {}
    axes: dict[str, list[int]] = {}
    for value in graph.input:
        kind = value.type.tensor_type
        if kind.elem_type != TensorProto.FLOAT or value.name in shapes:
            raise ShapeError(f"input {value.name!r}")
        shapes[value.name] = tuple("N" if dim.dim_param == "N" else dim.dim_value for dim in kind.shape.dim)
    for tensor in graph.initializer:
        if tensor.name in shapes or tensor.name in axes:
            raise ShapeError(f"tensor {tensor.name!r}")
        if tensor.data_type == TensorProto.INT64 and math.prod(tensor.dims) <= 8:
            axes[tensor.name] = np.frombuffer(tensor.raw_data, dtype="<i8").tolist()
        else:
            shapes[tensor.name] = tuple(tensor.dims)
    return shapes, axes


def _broadcast(one: Shape, other: Shape) -> Shape:
    rank = max(len(one), len(other))
    padded = [(1,) * (rank - len(shape)) + shape for shape in (one, other)]
    result: list[Dim] = []
    for a, b in zip(*padded, strict=True):
        if a != b and 1 not in (a, b):
            raise ShapeError
        result.append(b if a == 1 else a)
    return tuple(result)


def _elementwise(inputs: list[str], shapes: Mapping[str, Shape], _axes: _Axes, _attributes: _Attributes) -> Shape:
    one, other = inputs
    return _broadcast(shapes[one], shapes[other])


def _unary(inputs: list[str], shapes: Mapping[str, Shape], _axes: _Axes, _attributes: _Attributes) -> Shape:
    (one,) = inputs
    return shapes[one]


def _matmul(inputs: list[str], shapes: Mapping[str, Shape], _axes: _Axes, _attributes: _Attributes) -> Shape:
    one, other = (shapes[name] for name in inputs)
    if len(one) < 2 or len(other) < 2 or one[-1] != other[-2]:
        raise ShapeError
    return (*_broadcast(one[:-2], other[:-2]), one[-2], other[-1])


def _concat(inputs: list[str], shapes: Mapping[str, Shape], _axes: _Axes, attributes: _Attributes) -> Shape:
    parts = [shapes[name] for name in inputs]
    (axis,) = _normal(attributes.pop("axis"), len(parts[0]))
    if len({part[:axis] + part[axis + 1 :] for part in parts}) != 1 or len({len(part) for part in parts}) != 1:
        raise ShapeError
    sizes = [part[axis] for part in parts]
    total = sum(size for size in sizes if isinstance(size, int))
    if any(not isinstance(size, int) for size in sizes):
        raise ShapeError
    return (*parts[0][:axis], total, *parts[0][axis + 1 :])


def _normal(axes: Sequence[int], rank: int) -> list[int]:
    """Axes from 0 to `rank` - 1, each once."""
    normal = [axis + rank if axis < 0 else axis for axis in axes]
    if len(set(normal)) != len(normal) or not normal or not 0 <= min(normal) <= max(normal) < rank:
        raise ShapeError
    return normal


def _without(shape: Shape, axes: Sequence[int], keep: int) -> Shape:
    dims = [(1 if index in axes else dim) for index, dim in enumerate(shape) if keep or index not in axes]
    return tuple(dims)


def _reduce_mean(inputs: list[str], shapes: Mapping[str, Shape], _axes: _Axes, attributes: _Attributes) -> Shape:
    (one,) = inputs
    axes = _normal(attributes.pop("axes"), len(shapes[one]))
    return _without(shapes[one], axes, attributes.pop("keepdims", [1])[0])


def _reduce_sum(inputs: list[str], shapes: Mapping[str, Shape], axes: _Axes, attributes: _Attributes) -> Shape:
    one, by = inputs
    return _without(shapes[one], _normal(axes[by], len(shapes[one])), attributes.pop("keepdims", [1])[0])


def _squeeze(inputs: list[str], shapes: Mapping[str, Shape], axes: _Axes, _attributes: _Attributes) -> Shape:
    one, by = inputs
    gone = _normal(axes[by], len(shapes[one]))
    if any(shapes[one][axis] != 1 for axis in gone):
        raise ShapeError
    return _without(shapes[one], gone, 0)


def _unsqueeze(inputs: list[str], shapes: Mapping[str, Shape], axes: _Axes, _attributes: _Attributes) -> Shape:
    one, by = inputs
    rank = len(shapes[one]) + len(axes[by])
    new, old = _normal(axes[by], rank), iter(shapes[one])
    return tuple(1 if index in new else next(old) for index in range(rank))


def _transpose(inputs: list[str], shapes: Mapping[str, Shape], _axes: _Axes, attributes: _Attributes) -> Shape:
    (one,) = inputs
    order = _normal(attributes.pop("perm"), len(shapes[one]))
    if len(order) != len(shapes[one]):
        raise ShapeError
    return tuple(shapes[one][axis] for axis in order)


_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _elementwise),
    **dict.fromkeys(("Erf", "Sqrt"), _unary),
    "MatMul": _matmul,
    "Concat": _concat,
    "ReduceMean": _reduce_mean,
    "ReduceSum": _reduce_sum,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
}
