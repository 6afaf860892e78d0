"""Options of `assay tune --by-scene`."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer


@dataclass(frozen=True, slots=True)
class Scenes:
    """Whether and how a title is encoded scene by scene."""

    by_scene: Annotated[
        bool,
        typer.Option(
            "--by-scene", help="Encode each scene once at a rate value of its own, and measure every frame."
        ),
    ] = False
    goal: Annotated[
        str | None,
        typer.Option(
            metavar="mean|floor",
            help="By scene: smallest file whose `mean` meets the target, or every scene meets it (default: mean).",
        ),
    ] = None
    scene_floor: Annotated[
        float | None,
        typer.Option(metavar="POINTS", help="By scene: no scene more than this below the target (default: 6)."),
    ] = None
    max_step: Annotated[
        float | None,
        typer.Option(metavar="POINTS", help="By scene: most between neighbouring scenes (default: no limit)."),
    ] = None
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", metavar="N", help="By scene: encodes side by side (default: 1).")
    ] = None

    def asked(self) -> dict[str, Any]:
        """What was given, as fields of `SceneRequest`; raises ConfigError where it has no meaning."""
        given = {name: value for name, value in asdict(self).items() if name != "by_scene" and value is not None}
        if given and not self.by_scene:
            from vmaf_assay.errors import ConfigError

            option = f"--{next(iter(given)).replace('_', '-')}"
            raise ConfigError(f"{option} is for --by-scene", next_step=f"add --by-scene, or leave {option} out")
        return given
