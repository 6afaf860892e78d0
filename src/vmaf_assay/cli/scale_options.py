"""Options about what a target is of: libvmaf's model, how frames are pooled, and bits a sample."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer


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
        from vmaf_assay.tune.scale import read_scale  # the command line starts without it

        measurand, depth_of_source = read_scale(self.vmaf, self.pool, self.bit_depth)
        return {"measurand": measurand, "depth_of_source": depth_of_source}
