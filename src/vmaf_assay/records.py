"""Frozen records that cross folders. No I/O, and no logic beyond their own fields."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

CANONICAL6 = ("adm2", "vif_scale0", "vif_scale1", "vif_scale2", "vif_scale3", "motion2")
"""The six libvmaf features that every model reads, in this order."""

Pooling = Literal["frame", "mean", "harmonic", "p5", "p1"]
"""What one number is of: one frame, or all frames of an encode, by `pooled`."""


def pooled(frames: NDArray[np.float32], pooling: Pooling) -> float:
    """One number for the frames of an encode.

    Args:
      frames: VMAF of each frame, [F], points.
      pooling: `mean`; `harmonic`, libvmaf's harmonic mean of VMAF + 1, less 1; `p5` and `p1`, the 5th and the 1st
        percentile, interpolated linearly between frames.

    >>> [pooled(np.array([80, 90, 100], np.float32), how) for how in ("mean", "p5")]
    [90.0, 81.0]
    """
    wide = frames.astype(np.float64)
    if pooling == "harmonic":
        return float(len(wide) / np.sum(1 / (wide + 1)) - 1)
    if pooling in ("p5", "p1"):
        return float(np.quantile(wide, {"p5": 0.05, "p1": 0.01}[pooling]))
    return float(wide.mean())


@dataclass(frozen=True, slots=True)
class Metric:
    """The scale of a quality metric, and how rough its curves are."""

    model: str
    """libvmaf's model version."""
    floor: float
    """Lowest score, points."""
    ceiling: float
    """Highest score, points."""
    roughness: float
    """Standard deviation of a measured curve around a smooth one, points. It limits what a trial tells about a
    neighbouring rate value. Curves measured four rate values apart do not show it."""
    least_size: tuple[int, int] = (16, 16)
    """Fewest px of the shorter and of the longer side that libvmaf accepts. VMAF v1 fails below, for some sizes by
    a crash (`findings/vmaf_v1_least_size.sh`)."""

    def takes(self, size: tuple[int, int]) -> bool:
        """Whether libvmaf scores pictures of a size, px."""
        return min(size) >= self.least_size[0] and max(size) >= self.least_size[1]


_V1 = "vmaf_v1.0.16_"

METRICS = {
    # Roughness: seven clips of 72 frames, libx264, steps of 0.1 CRF: 0.04 to 0.26 between neighbours, 0.14 their
    # root mean square; libsvtav1 0.11 (`bench/roughness.py`, docs/log/choice.md, 2026-11-25). VMAF v1, five clips,
    # each encode scored by both models: libx264 0.19 where v0.6.1 has 0.11, libx265 of 10 bits 0.24 and 0.12.
    metric.model: metric
    for metric in (
        Metric("vmaf_v0.6.1", floor=0.0, ceiling=100.0, roughness=0.14),
        Metric("vmaf_v0.6.1neg", floor=0.0, ceiling=100.0, roughness=0.14),
        Metric("vmaf_4k_v0.6.1", floor=0.0, ceiling=100.0, roughness=0.14),
        *(
            Metric(f"{_V1}{rate}{view}", floor=0.0, ceiling=ceiling, roughness=0.24, least_size=least)
            for rate in ("", "hfr_")
            for view, ceiling, least in (
                ("3d0h", 100.0, (160, 216)),
                ("5d0h", 100.0, (266, 266)),
                ("1d5h_2160", 100.0, (160, 216)),
                ("3d0h_2160", 110.0, (318, 318)),
            )
        ),
    )
}
"""Metrics that a score here can be of, by libvmaf's model version."""

HIGH_FRAME_RATE = 50
"""Frames per second from which VMAF v1 has models of its own (Netflix/vmaf, `resource/doc/models_v1.md`)."""


def v1_model(view: str, frame_rate: float) -> str:
    """VMAF v1's model for a viewing distance, `3d0h` (three heights), `5d0h` (phone), `1d5h_2160`, `3d0h_2160`.

    >>> v1_model("3d0h", 25), v1_model("5d0h", 60)
    ('vmaf_v1.0.16_3d0h', 'vmaf_v1.0.16_hfr_5d0h')
    """
    # 49.9: players and cameras write 50 as 49.95, and 60 as 59.94.
    return f"{_V1}{'hfr_' if frame_rate > HIGH_FRAME_RATE - 0.1 else ''}{view}"


def is_v1(model: str) -> bool:
    """Whether a model of libvmaf is of the first generation after v0.6.1."""
    return model.startswith(_V1)


V1_FEATURES = {
    "v1_adm3": "integer_adm3",
    "v1_aim": "integer_aim",
    "v1_motion3": "integer_motion3",
    "v1_cambi": "cambi",
    "v1_speed_chroma_uv": "speed_chroma_uv",
}
"""What VMAF v1 reads of a frame, and how libvmaf's log names it, before the model's parameters."""

V1_FEATURES_OF = f"{_V1}3d0h"
"""The model whose features they are, where several models of v1 score an encode."""

PACKET_FACTS = ("frame_bytes", "frame_type", "frame_q")
"""Of each frame's packet: bytes; 1 for I, 2 for P, 3 for B, 0 if unknown; quantiser as the encoder states it."""

MORE_VALUES = (*(model for model in METRICS if model != "vmaf_v0.6.1"), *V1_FEATURES, *PACKET_FACTS)
"""Columns that a corpus cell may have beside `VALUES`, in the order they are hashed."""


@dataclass(frozen=True, slots=True)
class Measurand:
    """What a score is: metric, pooling, and bit depth of the encode. Scores of two measurands never meet.

    Files hold it as one text, so that two are equal or not, byte for byte.

    >>> str(MEAN_VMAF), Measurand.parse("vmaf_v0.6.1 mean 8-bit") == MEAN_VMAF
    ('vmaf_v0.6.1 mean 8-bit', True)
    """

    model: str
    """libvmaf's model version, one of `METRICS`."""
    pooling: Pooling
    """How frames make one number."""
    bit_depth: int
    """Bits a sample of the encode; of an encoder that has only one depth, the depth asked for."""

    @property
    def metric(self) -> Metric:
        """The metric's scale."""
        return METRICS[self.model]

    def __str__(self) -> str:
        return f"{self.model} {self.pooling} {self.bit_depth}-bit"

    @classmethod
    def parse(cls, text: str) -> "Measurand":
        """The measurand that a file names. Raises ValueError if this release does not know it."""
        match = re.fullmatch(r"(\S{1,64}) (\S{1,32}) (\d{1,2})-bit", text)
        if match is None or match[1] not in METRICS or match[2] not in get_args(Pooling):
            raise ValueError(f"the measurand {text[:100]!r} is unknown to this release")
        return cls(match[1], cast("Pooling", match[2]), int(match[3]))


FRAME_VMAF = Measurand("vmaf_v0.6.1", "frame", 8)
"""Of every corpus cell and of the regressor; files written before measurands do not name it."""

VMAF_NAMES = {
    "v0.6.1": "vmaf_v0.6.1",
    "neg": "vmaf_v0.6.1neg",
    "4k": "vmaf_4k_v0.6.1",
    "v1": f"{_V1}3d0h",
    "v1-phone": f"{_V1}5d0h",
    "v1-4k": f"{_V1}1d5h_2160",
}
"""Short names of libvmaf's models, as `--vmaf` takes them."""


def scoring_model(model: str, frame_rate: float) -> str:
    """The model that scores a source: VMAF v1 has others for 50 frames a second and more.

    >>> scoring_model("vmaf_v1.0.16_3d0h", 60), scoring_model("vmaf_v0.6.1", 60)
    ('vmaf_v1.0.16_hfr_3d0h', 'vmaf_v0.6.1')
    """
    view = model.removeprefix(_V1)
    return model if view == model or view.startswith("hfr_") else v1_model(view, frame_rate)


MEAN_VMAF = Measurand("vmaf_v0.6.1", "mean", 8)
"""Of every forecast and promise so far; files written before measurands do not name it."""


OnStep = Callable[[str, int, int], None]
"""Called with progress: what is being done, units done, units in all."""


@dataclass(frozen=True, slots=True, eq=False)
class PacketIndex:
    """The packets of a video stream in the file's order, where they tell which frame each one is."""

    pts: NDArray[np.int64]
    """Presentation stamps, ticks, [P]; no two are equal."""
    sizes: NDArray[np.int64]
    """Bytes, [P]."""
    sums: NDArray[np.uint32]
    """CRC-32 of the bytes, [P]."""
    entry: NDArray[np.bool_]
    """Whether decoding may start here without changing a picture that is shown later, [P]."""
    shown: NDArray[np.bool_]
    """Whether a picture comes out, [P]. Frame n is the n-th of these in the order of `pts`."""
    stream: int
    """Index of the stream in the file."""
    codec: str
    """ffmpeg's name."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the one video stream that is encoded says of itself, and what counting its packets says."""

    width: int
    """Width of a decoded picture, px: after cropping, before rotation."""
    height: int
    """Height of a decoded picture, px: after cropping, before rotation."""
    frame_rate: Fraction
    """Average frames per second over the whole stream."""
    n_frames: int
    """Frames the decoder gives, without those an edit list takes out."""
    pix_fmt: str
    """ffmpeg's pixel format name."""
    rotation: int
    """Display rotation in degrees, counter-clockwise, as ffmpeg prints it; 0 if none."""
    duration_s: float
    """`n_frames / frame_rate`."""
    codec: str
    """ffmpeg's name of the codec, as `h264`."""
    chroma: str
    """Chroma sampling: `420`, `422`, `444`, `440`, `411`, `410`, `gray`, `rgb` or `unknown`."""
    bit_depth: int
    """Bits a sample."""
    alpha: bool
    """True if any sample of any picture is not opaque."""
    color_range: str
    """`tv`, `pc` or `unknown`."""
    color_space: str
    """Matrix, in ffmpeg's words (`bt709`, `bt2020nc`), or `unknown`."""
    color_primaries: str
    """Primaries, in ffmpeg's words, or `unknown`."""
    color_transfer: str
    """Transfer, in ffmpeg's words (`bt709`, `smpte2084`, `arib-std-b67`), or `unknown`."""
    field_order: str
    """`progressive`, `top`, `bottom` (the field shown first of an interlaced stream) or `unknown`."""
    sample_aspect: Fraction
    """Width of a pixel over its height; 1 if not stated."""
    start_s: float
    """Time stamp of the first frame, seconds."""
    constant_rate: bool
    """True if every frame fits `frame_rate`, within the container's rounding, or if there are no time stamps."""
    side_data: tuple[str, ...]
    """Side data of the stream or its first frame, in ffmpeg's words (`Mastering display metadata`)."""
    stream: int = 0
    """Its index in the file, as in `-map 0:INDEX`."""
    stream_map: str = "v:0"
    """How ffmpeg's `-map 0:` names it: `v:0` if it is the file's first video stream, else its index."""
    container: str = ""
    """libavformat's demuxer, as `matroska,webm`."""
    profile: str = ""
    """The codec's profile; empty if it has none."""
    declared_rate: Fraction | None = None
    """Frames per second that the header states; None if it does not."""
    mirrored: bool = False
    """True if it is shown mirrored, before any rotation."""
    content_light: tuple[int, int] | None = None
    """(MaxCLL, MaxFALL), cd/m2; None if not stated."""
    mastering_luminance: tuple[Fraction, Fraction] | None = None
    """(least, most) luminance of the mastering display, cd/m2; None if not stated."""
    changes: tuple[str, ...] = ()
    """Where size, format or colours change on the way, in words; all else is of the first picture."""
    remarks: tuple[str, ...] = ()
    """What a decoder says of pictures before the first that can be decoded: no error of this video."""
    packets: PacketIndex | None = field(default=None, compare=False, repr=False)
    """Its packets; None where they do not tell which frame is which."""

    @property
    def hdr(self) -> str | None:
        """`HDR10 (PQ)` or `HLG`, by the transfer; None for anything else."""
        return {"smpte2084": "HDR10 (PQ)", "arib-std-b67": "HLG"}.get(self.color_transfer)

    @property
    def interlaced(self) -> bool:
        """True if the stream says that its frames are pairs of fields."""
        return self.field_order in ("top", "bottom")

    @property
    def shown_size(self) -> tuple[int, int]:
        """(width, height) as displayed, px: after cropping and rotation."""
        turned = abs(self.rotation) % 180 == 90
        return (self.height, self.width) if turned else (self.width, self.height)


@dataclass(frozen=True, slots=True)
class Scored:
    """One encode, decoded and compared with its reference frame by frame."""

    vmaf: NDArray[np.float32]
    """Per-frame VMAF, [S], points 0 to 100, display order: of every frame, or of one in `every`."""
    features: NDArray[np.float32]
    """Per-frame canonical-6, [S, 6], column order `CANONICAL6`."""
    n_frames: int
    """F, frames encoded; S of them are scored."""
    bytes: int
    """Sum of the encoder's packet sizes; 0 when a finished pair was scored."""
    kbps: float
    """`bytes` over the duration at the reference's frame rate, kilobits a second."""
    encode_s: float
    """Wall seconds of the one process that encoded, decoded and scored."""
    libvmaf_version: str
    """As libvmaf wrote it into its log."""
    frame_bytes: NDArray[np.int64] | None = None
    """Size of each frame's packet, [F], display order; None where it was not kept."""
    every: int = 1
    """Of so many frames the first is scored."""
    more: dict[str, NDArray[np.float32]] | None = None
    """Further per-frame columns by name, each [F]: some of `MORE_VALUES`."""
    pooling: Pooling = "mean"
    """How `pooled_vmaf` is made."""
    decoded: str = ""
    """SHA-256 of the reference's pictures as this encode's process decoded them, 32x18 greys of every frame; ''
    where it was not kept."""

    @property
    def bytes_of_scored(self) -> float:
        """The share of `bytes` that falls to as many frames as are scored."""
        return self.bytes * len(self.vmaf) / self.n_frames

    @property
    def pooled_vmaf(self) -> float:
        """One number for all frames, points: their mean, unless `pooling` says otherwise."""
        return pooled(self.vmaf, self.pooling)

    def part(self, first: int, n_frames: int, frame_rate: Fraction) -> "Scored":
        """A part of its frames as an encode of their own; needs `frame_bytes` for a size other than 0."""
        kept = slice(-(-first // self.every), -(-(first + n_frames) // self.every))
        sizes = None if self.frame_bytes is None else self.frame_bytes[first : first + n_frames]
        total = 0 if sizes is None else int(sizes.sum())
        kbps = total * 8 / float(n_frames / frame_rate) / 1000
        return replace(
            self,
            vmaf=self.vmaf[kept],
            features=self.features[kept],
            n_frames=n_frames,
            bytes=total,
            kbps=kbps,
            frame_bytes=sizes,
            more=None if self.more is None else {name: column[kept] for name, column in self.more.items()},
        )

    @property
    def pooled_features(self) -> NDArray[np.float64]:
        """Mean over frames of canonical-6, [6]."""
        means: NDArray[np.float64] = self.features.mean(axis=0, dtype=np.float64)
        return means


@dataclass(frozen=True, slots=True)
class CellRecord:
    """One measured cell of a corpus: source x encoder x preset x rate value."""

    key: str
    """SHA-256 of everything that determines the cell's content."""
    source: str
    """Name of the source, with `@WxH` if it is a smaller rendition."""
    group: str
    """What must not be split between folds."""
    encoder: str
    preset: str
    rate_mode: str
    """`crf`, `cq` or `qp`."""
    rate_value: float
    """On the encoder's own scale."""
    width: int
    """Width of the pair compared, px."""
    height: int
    """Height of the pair compared, px."""
    frame_rate: str
    """Rational, as `30000/1001`."""
    n_frames: int
    """Frames encoded and scored."""
    bytes: int
    """Sum of the encoder's packet sizes."""
    kbps: float
    """Kilobits a second."""
    encode_s: float
    """Wall seconds to encode, decode and score; not part of any digest."""
    versions: dict[str, str]
    """Versions of ffmpeg, libvmaf and the encoder."""
    content_sha256: str
    """SHA-256 of the per-frame rows as little-endian float32, [F, 7 + len(more)]: VMAF, canonical-6, `more`."""
    source_sha256: str = ""
    """SHA-256 of the source file; empty where it is not known. The key covers it, so no digest repeats it."""
    encoder_args: str = ""
    """Encoder options beyond the table's, as given with `--encoder-args`; empty for none."""
    measurand: str = str(FRAME_VMAF)
    """What the scores of its frames are."""
    more: tuple[str, ...] = ()
    """Further per-frame columns, some of `MORE_VALUES` in that order."""


VALUES = ("vmaf", *CANONICAL6)
"""Measured columns, in the order they are hashed."""


def scored_values(scored: Scored) -> NDArray[np.float32]:
    """Per-frame rows of a measurement, [S, 7]."""
    return np.column_stack([scored.vmaf, scored.features]).astype(np.float32)


def features_of_v1(scored: Scored) -> dict[str, NDArray[np.float32]]:
    """What VMAF v1 reads of the frames, each [S]; empty where no model of v1 scored them."""
    found = scored.more or {}
    return {name: found[name] for name in V1_FEATURES if name in found}


def more_values(scored: Scored) -> dict[str, NDArray[np.float32]]:
    """Further per-frame columns of a measurement, each [F], in the order of `MORE_VALUES`."""
    found = scored.more or {}
    return {name: found[name] for name in MORE_VALUES if name in found}
