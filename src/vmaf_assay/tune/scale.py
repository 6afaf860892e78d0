"""What a target is of: libvmaf's model, pooling and bit depth, from what a user writes."""

from dataclasses import replace
from typing import TYPE_CHECKING

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.pixels import pixel_facts
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.records import MEAN_VMAF, METRICS, VMAF_NAMES, Measurand, Pooling, scoring_model

if TYPE_CHECKING:
    from vmaf_assay.tune.request import TuneRequest

POOLINGS: tuple[Pooling, ...] = ("mean", "harmonic", "p5", "p1")
"""Ways to make one number of all frames."""


def read_scale(vmaf: str = "v0.6.1", pool: str = "mean", bit_depth: str = "8") -> tuple[Measurand, bool]:
    """The measurand of a target, and whether its depth is to be the source's.

    Args:
      vmaf: a short name of `VMAF_NAMES`, or libvmaf's name of a model.
      pool: one of `POOLINGS`.
      bit_depth: `8`, `10` or `source`.

    Raises:
      ConfigError: a name that is none of these.

    >>> str(read_scale("v1", "p5", "10")[0])
    'vmaf_v1.0.16_3d0h p5 10-bit'
    """
    model = VMAF_NAMES.get(vmaf.lower(), vmaf)
    if model not in METRICS:
        raise ConfigError(f"unknown VMAF model {vmaf!r}", next_step=f"choose one of {', '.join(VMAF_NAMES)}")
    if pool not in POOLINGS:
        raise ConfigError(f"--pool is {', '.join(POOLINGS)}, not {pool!r}", next_step="leave it out for the mean")
    if bit_depth not in ("8", "10", "source"):
        raise ConfigError(f"--bit-depth is 8, 10 or source, not {bit_depth!r}", next_step="leave it out for 8")
    return Measurand(model, pool, 10 if bit_depth == "10" else 8), bit_depth == "source"


def parse_measurand(text: str) -> Measurand:
    """The measurand that a user names, as `vmaf_v1.0.16_3d0h mean 10-bit`; raises ConfigError if it is unknown."""
    try:
        return Measurand.parse(text)
    except ValueError as error:
        raise ConfigError(str(error), next_step=f"write {str(MEAN_VMAF)!r}") from error


def at_depth(info: EncoderInfo, depth: int) -> EncoderInfo:
    """The encoder fed 4:2:0 pictures of a depth; one that has a single depth stays as it is at 8 bits.

    Raises:
      ConfigError: it makes no encodes of that depth.
    """
    if pixel_facts(info.pix_fmt).bit_depth == depth or depth == 8:
        return info
    fitting = [
        name for name in info.pix_fmts if (facts := pixel_facts(name)).bit_depth == depth and facts.chroma == "420"
    ]
    if not fitting:
        raise ConfigError(f"{info.name} makes no {depth}-bit encodes here", next_step="leave --bit-depth out")
    return info.with_pix_fmt(fitting[0])


def of_depth(request: "TuneRequest", depth: int) -> "TuneRequest":
    """The request for encodes of a depth."""
    return replace(request, measurand=replace(request.measurand, bit_depth=depth))


def compared_at(reference: ReferenceInput, depth: int) -> ReferenceInput:
    """The reference of a comparison at a depth or its own, whichever is more."""
    if pixel_facts(reference.pix_fmt).bit_depth >= depth:
        return reference
    return replace(reference, compared_pix_fmt=f"{reference.pix_fmt}10le")


def scale_words(measurand: Measurand, frame_rate: float) -> str:
    """What a score is of, in words; empty for the mean of VMAF v0.6.1 of 8-bit encodes."""
    if measurand == MEAN_VMAF:
        return ""
    pools = {"harmonic": "harmonic mean", "p5": "5th percentile", "p1": "1st percentile"}
    pool = pools.get(measurand.pooling, "mean")
    model = scoring_model(measurand.model, frame_rate)
    return f"VMAF is the {pool} over frames of {model}, of a {measurand.bit_depth}-bit encode"
