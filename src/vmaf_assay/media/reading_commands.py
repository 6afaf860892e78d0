"""ffmpeg commands that look at a file without encoding or scoring it: pure functions, hashed in no key."""

from collections.abc import Sequence

from vmaf_assay.media.commands import OUTPUT, SOURCE, Command
from vmaf_assay.media.ffmpeg import guards
from vmaf_assay.media.reference import ReferenceInput, chain

_ONE_BY_ONE = ("-fps_mode", "passthrough")
_NOWHERE = ("-f", "null", "-")


def list_streams() -> Command:
    """The kind of every stream, in ffmpeg's order; no packet is read."""
    copied = ("-map", "0", "-c", "copy", "-copy_unknown", "-t", "0")
    return Command((*guards(), "-i", SOURCE, *copied, "-f", "framecrc", "-"))


def write_container(args: Sequence[str]) -> Command:
    """Write a file with inputs and options given by the caller, to see whether its container takes them."""
    return Command((*args, OUTPUT))


def decode_stream(
    container: str, stream_map: str, *args: str, decoder: Sequence[str] = (), before: Sequence[str] = ()
) -> Command:
    """Decode one stream frame by frame, as it is stored.

    Args:
      container: the demuxer that opens it.
      stream_map: ffmpeg's name of the stream.
      args: what comes out.
      decoder: options of the decoder.
      before: further options before `-i`.
    """
    opened = ("-noautorotate", *decoder, *guards(container), *before, "-i", SOURCE)
    return Command((*opened, "-map", f"0:{stream_map}", *_ONE_BY_ONE, *args))


def show_picture(container: str, at_s: float) -> Command:
    """What the decoder says of the first picture from a place on, in ffmpeg's log."""
    opened = ("-v", "info", "-noautorotate", *guards(container), "-ss", f"{at_s:.3f}", "-i", SOURCE)
    return Command((*opened, "-map", "0:v:0", "-vf", "showinfo", "-frames:v", "1", "-f", "null", "-"))


def picture_sums(reference: ReferenceInput) -> Command:
    """A digest of each frame as the encoder sees it, on stdout."""
    return Command(
        (
            *(*reference.input_args, "-i", SOURCE, "-map", f"0:{reference.stream_map}"),
            *("-vf", chain(reference.encode_filters()), *_ONE_BY_ONE),
            *("-frames:v", str(reference.n_frames), "-f", "framemd5", "-"),
        )
    )


def decode_animation() -> Command:
    """Decode an animated WebP into a lossless file."""
    return Command((*guards("webp_anim,webp_pipe"), "-i", SOURCE, *_ONE_BY_ONE, "-c:v", "ffv1", OUTPUT))


def detect_bars(stream_map: str, filters: str, step: int) -> Command:
    """What of the picture is not black, in every `step`-th frame, as metadata on stdout."""
    mine = f"{filters}," if filters else ""
    looked_at = rf"{mine}select=not(mod(n\,{step})),cropdetect=round=2:reset=0:skip=0,metadata=print:file=-"
    return Command((*guards(), "-i", SOURCE, "-map", f"0:{stream_map}", "-vf", looked_at, *_ONE_BY_ONE, *_NOWHERE))


def pictures(stream_map: str, frames: Sequence[int], filters: str, width_px: int) -> Command:
    """Some frames as JPEG pictures no wider than `width_px`; an empty output first counts every frame decoded."""
    wanted = "+".join(f"eq(n\\,{frame})" for frame in frames)
    mine = f"{filters}," if filters else ""
    steps = f"{mine}select={wanted},scale=w=min(iw\\,{width_px}):h=-2:flags=area"
    total = str(max(frames, default=0) + 1)
    return Command(
        (
            *(*guards(), "-i", SOURCE),
            *("-map", f"0:{stream_map}", *_ONE_BY_ONE, "-frames:v", total, *_NOWHERE),
            *("-map", f"0:{stream_map}", "-vf", steps, *_ONE_BY_ONE),
            *("-frames:v", str(len(frames)), "-pix_fmt", "yuvj420p", "-c:v", "mjpeg", "-q:v", "4", OUTPUT),
        )
    )


def count_fields(
    before: Sequence[str], stream_map: str, start_s: float | None, n_frames: int, chain: str = ""
) -> Command:
    """How many frames, of a stream or behind filters, are pairs of fields: in ffmpeg's log at level `info`."""
    return _look(before, stream_map, start_s, n_frames, f"{chain},idet" if chain else "idet")


def match_fields(
    before: Sequence[str], stream_map: str, start_s: float | None, n_frames: int, parity: str
) -> Command:
    """Match fields to whole pictures, and write how each differs from the last into `differences.txt`."""
    matched = f"setfield={parity},fieldmatch=order={parity}:combmatch=full,signalstats"
    kept = "metadata=print:key=lavfi.signalstats.YDIF:file=differences.txt"
    return _look(before, stream_map, start_s, n_frames, f"{matched},{kept}")


def _look(before: Sequence[str], stream_map: str, start_s: float | None, n_frames: int, filters: str) -> Command:
    at = () if start_s is None else ("-ss", f"{start_s:.3f}")
    opened = (*before, *at, "-i", SOURCE, "-map", f"0:{stream_map}", "-frames:v", str(n_frames))
    return Command((*opened, "-vf", filters, *_ONE_BY_ONE, *_NOWHERE))


def brightest(before: Sequence[str], stream_map: str, step: int) -> Command:
    """The brightest that each pixel is in every `step`-th frame, as one PPM picture of RGB."""
    chosen = f"select=not(mod(n\\,{step}))," if step > 1 else ""
    # The picture of all frames is the last, so the end is repeated until one of every 500 is at or behind it.
    last = "lagfun=decay=1,tpad=stop=499:stop_mode=clone,select=not(mod(n+1\\,500))"
    looked_at = f"{chosen}format=gbrp,{last}"
    one = ("-update", "1", "-f", "image2", "-c:v", "ppm", "-pix_fmt", "rgb24")
    return Command(
        (*before, "-i", SOURCE, "-map", f"0:{stream_map}", "-vf", looked_at, *_ONE_BY_ONE, *one, OUTPUT)
    )
