"""Options of a verb in groups: a frozen dataclass is one parameter, and each of its fields an option."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any


def flattened(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with the fields of its dataclass parameters as parameters of its own, for typer.

    Args:
      verb: a function whose default for such a parameter is an instance of its class.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Limits:
    ...     low: int = 1
    >>> def show(name: str, limits: Limits = Limits()) -> None:
    ...     print(name, limits.low)
    >>> flattened(show)("x", low=3)
    x 3
    >>> list(inspect.signature(flattened(show)).parameters)
    ['name', 'low']
    """
    signature = inspect.signature(verb, eval_str=True)
    groups = {
        name: type(parameter.default)
        for name, parameter in signature.parameters.items()
        if dataclasses.is_dataclass(parameter.default)
    }
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        parameters += _options(groups[name]) if name in groups else [parameter]

    @functools.wraps(verb)
    def called(*args: Any, **given: Any) -> None:  # noqa: ANN401 - what typer parsed
        verb(*args, **{name: _filled(group, given) for name, group in groups.items()}, **given)

    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def _options(group: type[Any]) -> list[inspect.Parameter]:
    """A parameter for each field; a field that is a group itself gives its own."""
    hints = inspect.get_annotations(group, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for field in dataclasses.fields(group):
        if dataclasses.is_dataclass(field.default):
            parameters += _options(type(field.default))
        else:
            kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
            hint = hints[field.name]
            parameters.append(inspect.Parameter(field.name, kind, default=field.default, annotation=hint))
    return parameters


def _filled(group: type[Any], given: dict[str, Any]) -> Any:  # noqa: ANN401 - an instance of the group
    """The group with what was given of its fields, which is taken out of `given`."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(group):
        if dataclasses.is_dataclass(field.default):
            values[field.name] = _filled(type(field.default), given)
        elif field.name in given:
            values[field.name] = given.pop(field.name)
    return group(**values)
