"""Options about what a target is of: libvmaf's model, how frames are pooled, and bits a sample."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vmaf_assay.records import Measurand


@dataclass(frozen=True, slots=True)
class Scale:
    """What a target is of."""

    vmaf: Annotated[
        str,
        typer.Option(
            metavar="MODEL", help="v0.6.1, v1, v1-phone, v1-4k, neg or 4k, or libvmaf's name of a model."
        ),
    ] = "v0.6.1"
    pool: Annotated[
        str, typer.Option(metavar="mean|harmonic|p5|p1", help="What of all frames meets the target.")
    ] = "mean"
    bit_depth: Annotated[
        str, typer.Option(metavar="8|10|source", help="Bits a sample of the encode, and of the comparison.")
    ] = "8"

    def asked(self) -> dict[str, Any]:
        """As fields of `TuneRequest`."""
        from vmaf_assay.tune.request import read_scale  # the command line starts without it

        measurand, depth_of_source = read_scale(self.vmaf, self.pool, self.bit_depth)
        return {"measurand": measurand, "depth_of_source": depth_of_source}

    def measurand(self) -> "Measurand":
        """The measurand, where several encoders share it; raises ConfigError for the source's depth."""
        from vmaf_assay.errors import ConfigError

        asked = self.asked()
        if asked["depth_of_source"]:
            raise ConfigError("compare takes --bit-depth 8 or 10", next_step="name one of them")
        measurand: Measurand = asked["measurand"]
        return measurand
