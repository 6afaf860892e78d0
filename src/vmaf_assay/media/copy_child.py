"""Copy runs of packets of one file into small Matroska files, without decoding, and write them to standard output.

A process of its own, as `demux_child.py` is, and for the same reasons: the standard library and PyAV alone, and it
can write nowhere but into its pipe.

argv: FILE, JOB (a JSON file), the demuxers allowed. The job holds `stream`, `step_ms` between the stamps of
neighbours, and `runs` of `pts`, `sizes`, `sums`, `places`, `latest`. Standard output is a line of JSON, `sizes` of
the files and `alike`, and then the files.
"""

import contextlib
import io
import json
import os
import sys
import zlib
from fractions import Fraction
from typing import Any

import av
import av.logging

MAX_BYTES = 6 << 30
"""Address space that parsing may take."""

EARLIER_S = (0, 1, 5, 20, 90)
"""Seconds before a picture that are sought one after the other, until its packet is met; then the start."""


def limit() -> None:
    """Bound what a hostile file can make this process do."""
    try:
        import resource
    except ImportError:  # not POSIX
        return
    for what, most in ((resource.RLIMIT_AS, MAX_BYTES), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (most, most))


def is_packet(packet: Any, run: dict[str, Any], number: int) -> bool:  # noqa: ANN401 - av.Packet
    """Whether a packet is number `number` of a run, byte for byte."""
    if packet.pts != run["pts"][number] or packet.size != run["sizes"][number]:
        return False
    return bool(zlib.crc32(bytes(packet)) == run["sums"][number])


def packets_of(file: Any, stream: Any, run: dict[str, Any]) -> list[Any] | None:  # noqa: ANN401 - PyAV's classes
    """The packets of a run, found by seeking; None if the file does not give them again."""
    ticks = float(1 / stream.time_base)
    for earlier in (*EARLIER_S, None):
        target = run["pts"][0] - round(earlier * ticks) if earlier is not None else -(1 << 60)
        with contextlib.suppress(av.FFmpegError):
            file.seek(target, stream=stream, backward=True)
            if found := read_run(file, stream, run):
                return found
    return None


def read_run(file: Any, stream: Any, run: dict[str, Any]) -> list[Any] | None:  # noqa: ANN401 - PyAV's classes
    """A run's packets, if they come one after the other from where the file stands."""
    found: list[Any] = []
    for packet in file.demux([stream]):
        if packet.size == 0 and packet.pts is None and packet.dts is None:
            return None
        if is_packet(packet, run, len(found)):
            found.append(packet)
            if len(found) == len(run["pts"]):
                return found
        elif found or (packet.pts is not None and packet.pts > run["latest"]):
            return None
    return None


def facts(stream: Any) -> tuple[Any, ...]:  # noqa: ANN401 - av.VideoStream
    """What a decoder knows of a stream's pictures before the first."""
    context = stream.codec_context
    colours = context.color_range, context.colorspace, context.color_primaries, context.color_trc
    return (context.width, context.height, context.pix_fmt, stream.sample_aspect_ratio or Fraction(1), *colours)


def written(stream: Any, run: dict[str, Any], packets: list[Any], step_ms: int) -> bytes:  # noqa: ANN401 - PyAV's classes
    """A Matroska file of packets whose stamps are their ranks."""
    # Decoding stamps are the order, and none is after its picture's.
    delay = max(0, *(number - place for number, place in enumerate(run["places"])))
    memory = io.BytesIO()
    with av.open(memory, "w", format="matroska") as out:
        mine = out.add_stream_from_template(stream, opaque=True)
        for number, (packet, place) in enumerate(zip(packets, run["places"], strict=True)):
            packet.stream = mine
            packet.time_base = Fraction(1, 1000)
            packet.pts, packet.dts, packet.duration = step_ms * (place + delay), step_ms * number, step_ms
            out.mux(packet)
    return memory.getvalue()


def main(argv: list[str]) -> None:
    """Copy what the job names."""
    limit()
    av.logging.set_level(av.logging.ERROR)
    path, job, demuxers = argv
    with open(job, encoding="utf-8") as handle:
        asked = json.load(handle)
    made: list[bytes] = []
    alike = True
    guards = {"protocol_whitelist": "file", "format_whitelist": demuxers}
    with av.open(f"file:{path}", options=guards, metadata_errors="replace") as file:
        stream = file.streams[asked["stream"]]
        for other in file.streams:
            if other.index != stream.index:
                other.discard = av.stream.Discard.all
        for run in asked["runs"]:
            packets = packets_of(file, stream, run)
            if packets is None:
                break
            made.append(written(stream, run, packets, asked["step_ms"]))
            with av.open(io.BytesIO(made[-1]), format="matroska") as copy:
                alike = alike and facts(copy.streams.video[0]) == facts(stream)
    head = json.dumps({"sizes": [len(one) for one in made], "alike": alike}).encode() + b"\n"
    for part in (head, *made):
        data = memoryview(part)
        while data:
            data = data[os.write(1, data) :]


if __name__ == "__main__":
    main(sys.argv[1:])
