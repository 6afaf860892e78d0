"""Options of several verbs that say what is made of the pictures."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from vmaf_assay.cli.options import Filters


@dataclass(frozen=True, slots=True)
class Pictures:
    """What is made of the pictures before everything else."""

    vf: Filters = ""
    crop: Annotated[
        str,
        typer.Option(metavar="auto|W:H:X:Y|off", help="Cut black bars off (`auto` looks at the whole title)."),
    ] = "off"
    deinterlace: Annotated[
        str,
        typer.Option(
            metavar="auto|off", help="Look at the fields; make whole pictures of interlaced ones and film."
        ),
    ] = "auto"
    background: Annotated[
        str, typer.Option(metavar="COLOUR", help="Colour under transparent pictures: black, white or #rrggbb.")
    ] = ""
    tonemap: Annotated[
        str,
        typer.Option(metavar="CURVE", help="Make SDR of HDR: hable, mobius or reinhard (default: off)."),
    ] = "off"
    chroma: Annotated[
        str, typer.Option(metavar="420|422|444|source", help="Chroma of the encode, where the encoder can.")
    ] = "420"
    range: Annotated[
        str,
        typer.Option(metavar="source|limited", help="Keep full range full (nothing is promised), or not."),
    ] = "source"
    changes: Annotated[
        str,
        typer.Option(
            metavar="refuse|first", help="Where size, format or colours change on the way: make all as it begins."
        ),
    ] = "refuse"

    def asked(self) -> dict[str, Any]:
        """As fields of a request."""
        from vmaf_assay.api import PictureRequest

        made = {name: value for name, value in asdict(self).items() if name != "vf"}
        return {"filters": self.vf, "pictures": PictureRequest(**made)}
