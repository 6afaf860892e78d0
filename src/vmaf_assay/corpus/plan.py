"""From sources and encoders to cells, each with the key that names its content."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from vmaf_assay.corpus.sources import Source
from vmaf_assay.errors import ConfigError, IntegrityError
from vmaf_assay.media import commands
from vmaf_assay.media.commands import VMAF_MODEL, Command
from vmaf_assay.media.encoders import (
    ENCODERS,
    EncoderInfo,
    check_named,
    encoder_info,
    read_encoder,
    with_extra_args,
)
from vmaf_assay.media.ffmpeg import DEMUXERS, Ffmpeg, even_fit, guards
from vmaf_assay.media.files import canonical_json, sha256_bytes, sha256_file
from vmaf_assay.media.probe import probe_video
from vmaf_assay.media.reference import ReferenceInput, admit, rgb_matrix
from vmaf_assay.records import METRICS, v1_model

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class EncoderRequest:
    """One encoder and preset, at the rate values to be measured."""

    encoder: EncoderInfo
    """Entry of the table of encoders."""
    preset: str
    rate_values: tuple[float, ...]
    """Rate values, on the encoder's own scale."""
    bit_depth: int = 8
    """Bits a sample of the encode."""


@dataclass(frozen=True, slots=True)
class CorpusReference:
    """One source at one size: what is decoded once and encoded many times."""

    name: str
    """The source's name, with `@WxH` if smaller than its first rendition."""
    source: Source
    source_sha256: str
    """Digest of the whole source file."""
    size: Size
    """(width, height), px, even."""
    frame_rate: Fraction
    """Frames per second."""
    max_frames: int | None
    """Most frames used; None means all."""
    expected_frames: int | None = None
    """Frames that decoding must give; None if only a time range of the source is used."""
    conversions: tuple[str, ...] = ()
    """Conversions of the source's pictures, in words (`media/reference.py`)."""
    stream_map: str = "v:0"
    """How ffmpeg names the stream in the file."""
    container: str = ""
    """The demuxer that reads it; empty for any."""
    remarks: tuple[str, ...] = ()
    """What a decoder says of pictures before the first that can be decoded."""
    rgb_matrix: str = ""
    """Matrix that an RGB source becomes YUV by; empty for one that is YUV."""
    bit_depth: int = 8
    """Bits a sample of the Y4M file, of its encodes, and of the comparison."""

    @property
    def pix_fmt(self) -> str:
        """Pixel format of its Y4M file."""
        return _PIX_FMTS[self.bit_depth]

    def models(self) -> tuple[str, ...]:
        """Models that score its encodes in one pass: v0.6.1, and those of v1 that take pictures this small."""
        further = (v1_model(view, float(self.frame_rate)) for view in ("3d0h", "5d0h"))
        return (VMAF_MODEL, *(model for model in further if METRICS[model].takes(self.size)))

    def decode(self, *, guarded: bool = False) -> Command:
        """The command that makes its Y4M file; `guarded`, it can open no other file, and is no part of a key."""
        before, after = self._part(guarded=guarded)
        return commands.decode_to_y4m(
            before=before,
            after=after,
            frame_rate=self._rate(),
            size=self.size,
            rgb_matrix=self.rgb_matrix,
            stream_map=self.stream_map,
            pix_fmt=self.pix_fmt,
        )

    def decode_looks(self, *, guarded: bool = False) -> Command:
        """The command that makes its looks (`corpus/looks.py`); `guarded` as in `decode`."""
        before, after = self._part(guarded=guarded)
        return commands.decode_to_looks(
            before=before,
            after=after,
            frame_rate=self._rate(),
            size=self.size,
            rgb_matrix=self.rgb_matrix,
            stream_map=self.stream_map,
        )

    def _part(self, *, guarded: bool) -> tuple[list[str], list[str]]:
        """Options before and after `-i` that choose the part of the file."""
        before = ["-ss", f"{self.source.start_s:g}"] if self.source.start_s else []
        after = [] if self.source.duration_s is None else ["-t", f"{self.source.duration_s:g}"]
        if self.max_frames is not None:
            after += ["-frames:v", str(self.max_frames)]
        if guarded:
            before += guards(self.container.partition(",")[0] or DEMUXERS)
        return [*before, *self.source.input_args()], after

    def reference(self, path: Path, n_frames: int) -> ReferenceInput:
        """Its Y4M file as the reference of comparisons."""
        return ReferenceInput(path, self.frame_rate, n_frames, self.size, pix_fmt=self.pix_fmt)

    def _rate(self) -> str:
        return f"{self.frame_rate.numerator}/{self.frame_rate.denominator}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One encode to be made and scored."""

    key: str
    """SHA-256 over the source's content, every argument and every tool version."""
    rendition: CorpusReference
    encoder: EncoderInfo
    """With what."""
    preset: str
    rate_value: float
    versions: dict[str, str]
    """Versions of ffmpeg, libvmaf and this encoder."""


def parse_encoder(text: str, rate_values: tuple[float, ...] | None) -> EncoderRequest:
    """Read `NAME[:PRESET[:RATE,RATE...[:10-bit]]]`; rate values in the text override `rate_values`.

    Without either, eight values are spread over the middle of the declared range. Encodes are of 8 bits unless the
    text says otherwise; of an encoder that takes 10 only, 8 is what it is compared at.

    >>> parse_encoder("libx264:fast:20,30", None).rate_values
    (20.0, 30.0)
    """
    name, preset, rest = read_encoder(text)
    rates, _, depth = rest.partition(":")
    info = encoder_info(check_named(name, ENCODERS))
    bit_depth = _bit_depth(depth, text)
    if bit_depth != 8:
        info = info.with_pix_fmt(_PIX_FMTS[bit_depth])
    values = parse_rates(rates) if rates else rate_values or default_rates(info)
    for value in values:
        info.check_rate(value)
    return EncoderRequest(info, info.check_preset(preset or info.default_preset), values, bit_depth)


_PIX_FMTS = {8: "yuv420p", 10: "yuv420p10le"}


def _bit_depth(text: str, where: str) -> int:
    if text not in ("", "8-bit", "10-bit"):
        raise ConfigError(f"{text!r} in {where!r} is no bit depth", next_step="write 10-bit, or leave it out")
    return int(text.removesuffix("-bit") or 8)


def with_encoder_args(
    requests: list[EncoderRequest], texts: list[str], *, unsafe: bool = False
) -> list[EncoderRequest]:
    """The requests with the user's own encoder options, `[NAME=]OPTIONS` each.

    Raises:
      ConfigError: options without a name where several encoders are asked for, a name that is not among them, or
        options that cannot be passed on (`media.encoders.with_extra_args`).
    """
    names = sorted({request.encoder.name for request in requests})
    options: dict[str, str] = {}
    for text in texts:
        named = re.match(r"([a-z]\w+(?:-\w+)*)=(.*)", text, re.DOTALL)
        if named is None and len(names) > 1:
            raise ConfigError(
                f"--encoder-args {text!r} does not name its encoder", next_step=f"write '{names[0]}={text}'"
            )
        name, given = (read_encoder(named[1]).encoder, named[2]) if named else (names[0], text)
        if name not in names:
            raise ConfigError(
                f"--encoder-args names {name}, which is not among the encoders", next_step=f"add -e {name}"
            )
        options[name] = f"{options.get(name, '')} {given}"
    return [
        replace(request, encoder=with_extra_args(request.encoder, options[request.encoder.name], unsafe=unsafe))
        if request.encoder.name in options
        else request
        for request in requests
    ]


def parse_rates(text: str) -> tuple[float, ...]:
    """Read `22,28,34`; raises ConfigError if a part is not a number or comes twice."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"rates are numbers with commas, not {text!r}", next_step="write 22,28,34") from error
    if len(set(values)) != len(values):
        raise ConfigError(f"a rate value comes twice in {text!r}", next_step="remove one")
    return values


def default_rates(info: EncoderInfo) -> tuple[float, ...]:
    """Eight whole rate values between 27 and 82 % of the declared range, where VMAF is 40 to 98."""
    span = info.rate_max - info.rate_min
    return tuple(float(round(info.rate_min + span * (0.27 + 0.55 * i / 7))) for i in range(8))


def references_of(
    ffmpeg: Ffmpeg, source: Source, *, sizes: list[Size | None], max_frames: int | None
) -> list[CorpusReference]:
    """The source at its first size, and at each further size that is smaller than the one before.

    Args:
      ffmpeg: asked for the source's facts.
      source: a source; its digest is computed, and compared with a manifest's.
      sizes: boxes to fit into, largest first; None means native.
      max_frames: most frames used.

    Raises:
      MediaError: the source cannot be read, or its score would not be a valid VMAF.
      IntegrityError: its digest is not what the manifest says.
    """
    if source.raw:
        source.raw.check(source.path)
    rate = source.raw.frame_rate if source.raw else None
    info = probe_video(ffmpeg, source.path, frame_rate=rate, input_args=source.input_args())
    conversions = tuple(admit(source.path, info))
    whole = not source.start_s and source.duration_s is None
    expected = min(info.n_frames, max_frames or info.n_frames) if whole else None
    digest = sha256_file(source.path)
    if source.sha256 is not None and digest != source.sha256:
        raise IntegrityError(
            f"{source.path} is not the file the manifest names (SHA-256 {digest[:12]}, not {source.sha256[:12]})",
            next_step="restore it or correct the manifest",
        )
    width, height = info.shown_size
    made: list[CorpusReference] = []
    for box in sizes:
        size = even_fit(width, height, box)
        if made and size == made[-1].size:
            continue
        name = source.name if not made else f"{source.name}@{box[0]}x{box[1]}" if box else source.name
        made.append(
            CorpusReference(
                name,
                source,
                digest,
                size,
                info.frame_rate,
                max_frames,
                expected,
                conversions,
                stream_map=info.stream_map,
                container=info.container,
                remarks=info.remarks,
                rgb_matrix=rgb_matrix(*size) if info.chroma == "rgb" else "",
            )
        )
    return made


def plan_cells(
    renditions: list[CorpusReference], requests: list[EncoderRequest], versions: dict[str, str]
) -> list[Cell]:
    """Every cell of a corpus, one rendition's cells together; identical requests make one cell.

    Args:
      renditions: from `references_of`.
      requests: encoders, presets and rate values.
      versions: of ffmpeg, libvmaf, and each encoder by name.
    """
    _check_presets(requests)
    cells: dict[str, Cell] = {}
    meant: dict[tuple[str, str, str, float, int], str] = {}
    for of_source in renditions:
        # One depth after the other, so that a source is decoded once for each.
        for request in sorted(requests, key=lambda request: request.bit_depth):
            rendition = replace(of_source, bit_depth=request.bit_depth)
            for rate_value in request.rate_values:
                used = {name: versions[name] for name in ("ffmpeg", "libvmaf", request.encoder.name)}
                key = cell_key(rendition, request.encoder, request.preset, rate_value, used)
                if key in cells and cells[key].rendition.name != rendition.name:
                    # One cell cannot have two names. In two groups it would be in training and test data.
                    raise ConfigError(
                        f"sources {cells[key].rendition.name!r} and {rendition.name!r} have the same content",
                        next_step="remove one",
                    )
                what = (rendition.name, request.encoder.name, request.preset, rate_value, request.bit_depth)
                if meant.setdefault(what, key) != key:
                    raise ConfigError(
                        f"{request.encoder.name} {request.preset} is asked for with two sets of --encoder-args",
                        next_step="build a corpus for each",
                    )
                cells[key] = Cell(key, rendition, request.encoder, request.preset, rate_value, used)
    return list(cells.values())


def _check_presets(requests: list[EncoderRequest]) -> None:
    """Refuse two presets that give the same bytes: a model would be trained on every encode twice."""
    asked: dict[tuple[str, int], list[str]] = {}
    for request in requests:
        name, preset = request.encoder.name, request.preset
        others = [other for other in asked.get((name, request.bit_depth), []) if other != preset]
        if same := request.encoder.equal_among(preset, others):
            raise ConfigError(
                f"{name} {preset} gives the bytes of {name} {same}: nothing is trained on twice",
                next_step=f"ask for {name}:{same} alone; models answer for both",
            )
        asked.setdefault((name, request.bit_depth), []).append(preset)


def cell_key(
    rendition: CorpusReference, encoder: EncoderInfo, preset: str, rate_value: float, versions: dict[str, str]
) -> str:
    """SHA-256 of everything that determines a cell's rows; paths, names, clock and core count do not."""
    reference = rendition.reference(Path("y4m"), 1)
    encode = commands.encode_and_score(reference, encoder, preset, rate_value, rendition.models())
    return sha256_bytes(
        canonical_json(
            {
                "source_sha256": rendition.source_sha256,
                "decode": rendition.decode().hashed(),
                "encode_and_score": encode.hashed(),
                "versions": versions,
            }
        )
    )
