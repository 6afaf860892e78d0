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
    groups: dict[str, type[Any]] = {
        name: type(parameter.default)
        for name, parameter in signature.parameters.items()
        if dataclasses.is_dataclass(parameter.default)
    }
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        parameters += _fields(groups[name]) if name in groups else [parameter]

    @functools.wraps(verb)
    def called(*args: Any, **given: Any) -> None:  # noqa: ANN401 - what typer parsed
        for name, group in groups.items():
            fields = [field.name for field in dataclasses.fields(group) if field.name in given]
            given[name] = group(**{field: given.pop(field) for field in fields})
        verb(*args, **given)

    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def _fields(group: type[Any]) -> list[inspect.Parameter]:
    hints = inspect.get_annotations(group, eval_str=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(group)
    ]
