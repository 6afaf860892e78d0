"""Options of several verbs that say what is made of the pictures."""

from typing import Annotated

import typer

Crop = Annotated[
    str,
    typer.Option(metavar="auto|W:H:X:Y|off", help="Cut black bars off (`auto` looks at the whole title)."),
]
Deinterlace = Annotated[
    str,
    typer.Option(metavar="auto|off", help="Look at the fields; make whole pictures of interlaced ones and film."),
]
Background = Annotated[
    str,
    typer.Option(metavar="COLOUR", help="Colour under transparent pictures: black, white or #rrggbb."),
]
ToneMap = Annotated[
    str,
    typer.Option("--tonemap", metavar="CURVE", help="Make SDR of HDR: hable, mobius or reinhard (default: off)."),
]
