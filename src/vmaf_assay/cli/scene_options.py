"""Options of `assay tune --by-scene`."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

ByScene = Annotated[
    bool,
    typer.Option("--by-scene", help="Encode each scene once at a rate value of its own, and measure every frame."),
]
SceneGoal = Annotated[
    str | None,
    typer.Option(
        metavar="mean|floor",
        help="By scene: smallest file whose `mean` meets the target, or every scene meets it (default: mean).",
    ),
]
SceneFloor = Annotated[
    float | None,
    typer.Option(metavar="POINTS", help="By scene: no scene more than this below the target (default: 6)."),
]
MaxStep = Annotated[
    float | None,
    typer.Option(metavar="POINTS", help="By scene: most between neighbouring scenes (default: no limit)."),
]
SceneJobs = Annotated[
    int | None, typer.Option("--jobs", "-j", metavar="N", help="By scene: encodes side by side (default: 1).")
]


def refuse_without_scenes(given: Mapping[str, Any]) -> None:
    """Raise ConfigError if an option is given that means nothing without `--by-scene`."""
    for name in ("goal", "scene_floor", "max_step", "jobs"):
        if given[name] is not None:
            from vmaf_assay.errors import ConfigError

            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option} is for --by-scene", next_step=f"add --by-scene, or leave {option} out")
