"""The final encode is the encode that a trial measured: the same packets, at the source's own times."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import lavfi
from vmaf_assay.media import commands, process
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import score_pair
from vmaf_assay.media.segments import Cuttings, Span
from vmaf_assay.media.stamps import Stamps, frame_times, restore_args, stamps_of
from vmaf_assay.tune.final import FinalEncode, write_final
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.streams_plan import CarryPlan

pytestmark = pytest.mark.ffmpeg

N_FRAMES = 40
ENCODES = {
    "libx264": ("veryfast", 30.0),
    "libx265": ("veryfast", 32.0),
    "libsvtav1": ("11", 45.0),
    "libvpx-vp9": ("5", 45.0),
    "libaom-av1": ("8", 45.0),
    "libvvenc": ("faster", 40.0),
}
UNEVEN = "setpts='if(lt(N,20),N/60,20/60+(N-20)/20)/TB'"
"""20 frames at 60 a second, then 20 at 20: 30 a second in the mean."""


@pytest.fixture(scope="module")
def sources(ffmpeg, tmp_path_factory) -> dict[str, Path]:
    """40 frames that begin 0.24 s after the sound: `cfr` at 25 a second, `vfr` at 60 and then at 20.

    `ffmpeg -f lavfi -i testsrc2=size=192x108:rate=60,SETPTS -f lavfi -i sine -vf setpts=PTS+0.24/TB ...
    -c:v libx264 -crf 8 -c:a aac x.mp4`
    """
    folder = tmp_path_factory.mktemp("same")
    made = {}
    for name, times in (("cfr", "setpts=N/25/TB"), ("vfr", UNEVEN)):
        graph = f"testsrc2=size=192x108:rate=60,settb=1/90000,{times},format=yuv420p,setsar=4/3"
        made[name] = lavfi(
            ffmpeg,
            folder / f"{name}.mp4",
            "-f",
            "lavfi",
            "-i",
            "sine=duration=2.5",
            "-frames:v",
            str(N_FRAMES),
            "-vf",
            "setpts=PTS+0.24/TB",
            "-fps_mode",
            "passthrough",
            "-enc_time_base",
            "1/90000",
            "-c:v",
            "libx264",
            "-crf",
            "8",
            "-c:a",
            "aac",
            "-video_track_timescale",
            "90000",
            graph=graph,
        )
    return made


def reference_of(path: Path) -> ReferenceInput:
    """The source as `tune` opens it: at its mean rate."""
    rate = Fraction(25) if path.stem == "cfr" else Fraction(39 * 60, 20 + 19 * 3)
    return ReferenceInput(path, rate, N_FRAMES, (192, 108))


def packets(ffmpeg: Ffmpeg, path: Path) -> list[tuple[int, Fraction, Fraction, str]]:
    """(size, decode time, time shown, MD5) of each packet of the first video, by plain ffmpeg, offsets kept."""
    argv = [*ffmpeg.base_argv(), "-copyts", "-i", str(path), "-map", "0:v:0", "-c", "copy", "-f", "framemd5", "-"]
    done = process.run(argv)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    tick = Fraction(next(line for line in lines if line.startswith("#tb 0:")).split()[-1])
    rows = [line.split(",") for line in lines if line[:1].isdigit()]
    return [(int(r[4]), int(r[1]) * tick, int(r[2]) * tick, r[5].strip()) for r in rows]


def times_shown(ffmpeg: Ffmpeg, path: Path) -> list[Fraction]:
    """When each decoded frame is shown, by plain ffmpeg, offsets kept."""
    argv = [*ffmpeg.base_argv(), "-copyts", "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough"]
    done = process.run([*argv, "-enc_time_base", "filter", "-c:v", "rawvideo", "-f", "framecrc", "-"])
    lines = done.stdout.decode().splitlines()
    tick = Fraction(next(line for line in lines if line.startswith("#tb 0:")).split()[-1])
    return [int(line.split(",")[2]) * tick for line in lines if line[:1].isdigit()]


def trial_packets(ffmpeg: Ffmpeg, reference: ReferenceInput, name: str, folder: Path) -> list[str]:
    """Digests of the packets of a trial: its own command, but into a file."""
    argv = commands.encode_and_score(reference, encoder_info(name), *ENCODES[name]).argv(
        ffmpeg, n_frames=reference.n_frames, source=reference.path
    )
    at = argv.index("null")
    argv[at : at + 2] = ["matroska", str(folder / "trial.mkv")]
    done = process.run(argv, cwd=folder)
    assert done.exit_code == 0, done.stderr
    return [row[3] for row in packets(ffmpeg, folder / "trial.mkv")]


def final_file(ffmpeg: Ffmpeg, reference: ReferenceInput, name: str, out: Path) -> Path:
    """The final encode with the sound beside it."""
    preset, rate_value = ENCODES[name]
    sound = ("-c:a", "libopus") if out.suffix == ".webm" else ("-c:a", "copy")
    carry = CarryPlan(("-map", "0:v:0", "-map", "0:a:0", *sound), ())
    encode = FinalEncode(reference, encoder_info(name), preset, rate_value, carry)
    write_final(ffmpeg, TuneRequest(reference.path, name, 90.0, 0.9, output=out), encode, None)
    return out


def sound_starts(ffmpeg: Ffmpeg, path: Path) -> Fraction:
    """The time of a file's first packet of sound, offsets kept."""
    argv = [*ffmpeg.base_argv(), "-copyts", "-i", str(path), "-map", "0:a:0", "-c", "copy", "-f", "framecrc", "-"]
    lines = process.run(argv).stdout.decode().splitlines()
    tick = Fraction(next(line for line in lines if line.startswith("#tb 0:")).split()[-1])
    return next(int(line.split(",")[2]) * tick for line in lines if line[:1].isdigit())


CASES = [
    ("libx264", "mkv", "cfr"),
    ("libx264", "mp4", "vfr"),
    ("libx265", "mov", "cfr"),
    ("libx265", "mkv", "vfr"),
    ("libsvtav1", "mp4", "cfr"),
    ("libsvtav1", "webm", "vfr"),
    ("libvpx-vp9", "webm", "cfr"),
    ("libvpx-vp9", "mp4", "vfr"),
    ("libaom-av1", "mkv", "cfr"),
    ("libaom-av1", "mp4", "vfr"),
    ("libvvenc", "mkv", "cfr"),
    ("libvvenc", "mp4", "vfr"),
]
"""Each encoder at even and at uneven times; each container with pictures in and out of order."""


@pytest.mark.parametrize(("name", "container", "kind"), CASES)
def test_the_final_encode_is_the_trial(ffmpeg, sources, tmp_path, name, container, kind):
    """Packet for packet the same bytes, shown when the source shows its frames, in sync with the sound."""
    reference = reference_of(sources[kind])
    out = final_file(ffmpeg, reference, name, tmp_path / f"out.{container}")
    made = packets(ffmpeg, out)
    assert [row[3] for row in made] == trial_packets(ffmpeg, reference, name, tmp_path)
    if (
        name == "libvvenc"
    ):  # ffmpeg n9.0.2 makes up times of VVC in Matroska, and drops frames of a late start in MP4
        return
    shown, truth = times_shown(ffmpeg, out), times_shown(ffmpeg, sources[kind])
    slack = Fraction(2, 1000) if container in ("mkv", "webm") else Fraction(1, 12000)
    assert max(abs((a - shown[0]) - (b - truth[0])) for a, b in zip(shown, truth, strict=True)) <= slack
    offset, wanted = shown[0] - sound_starts(ffmpeg, out), truth[0] - sound_starts(ffmpeg, sources[kind])
    # Sound that is encoded anew, in WebM here, has its own delay.
    assert abs(offset - wanted) <= (slack if container != "webm" else Fraction(20, 1000))
    decoded = [row[1] for row in made]
    assert all(a < b for a, b in pairwise(decoded))
    assert all(row[1] <= row[2] for row in made)


@pytest.mark.parametrize("name", ["libx264", "libx265", "libvvenc"])
def test_uneven_times_do_not_change_the_score(ffmpeg, sources, tmp_path, name):
    """What `--verify` measures of a source with uneven times is what the trial measured.

    Encoders that spend bits by how long a frame is shown made 86.6 of 90.0.
    """
    from vmaf_assay.media.score import encode_and_score

    reference = reference_of(sources["vfr"])
    preset, rate_value = ENCODES[name]
    trial = encode_and_score(ffmpeg, reference, encoder_info(name), preset, rate_value)
    out = final_file(ffmpeg, reference, name, tmp_path / "out.mkv")
    assert score_pair(ffmpeg, reference, out).pooled_vmaf == pytest.approx(trial.pooled_vmaf, abs=1e-6)
    assert abs(sum(row[0] for row in packets(ffmpeg, out)) - trial.bytes) <= N_FRAMES


@pytest.mark.parametrize("name", ENCODES)
def test_a_segment_cut_out_is_encoded_as_in_the_source(ffmpeg, sources, tmp_path, name):
    """A trial of a segment's file gives the packets that those frames of the source itself give."""
    whole = reference_of(sources["vfr"])
    cuttings = Cuttings(whole, [Span(8, 20), Span(24, 36)], tmp_path)
    cuttings.cut(ffmpeg)
    piece = cuttings.reference(Span(24, 36))
    direct = ReferenceInput(whole.path, whole.frame_rate, 12, whole.size, span=(24, 36))
    assert trial_packets(ffmpeg, piece, name, tmp_path) == trial_packets(ffmpeg, direct, name, tmp_path)


def test_times_of_a_file_are_those_of_its_frames(ffmpeg, sources, tmp_path):
    """20 frames at 60 a second and 20 at 20, 0.24 s after the sound, in the source's own unit."""
    stamps = frame_times(ffmpeg, reference_of(sources["vfr"]), tmp_path)
    times = [tick * stamps.tick for tick in stamps.ticks]
    assert [float(time - times[0]) for time in times[:20]] == pytest.approx([n / 60 for n in range(20)], abs=1e-4)
    assert float(times[39] - times[20]) == pytest.approx(19 / 20, abs=1e-4)
    assert not stamps.is_even(Fraction(30))


@pytest.mark.parametrize(
    ("ticks", "even"),
    [
        ([0, 33, 67, 100, 133, 167, 200], True),
        ([7, 40, 74, 107, 140, 174, 207], True),
        ([0, 33, 67, 133, 167, 200], False),
        ([0, 33, 67, 101, 136, 171, 206], False),
    ],
)
def test_milliseconds_of_a_constant_rate_are_even(ticks, even):
    """Rounded stamps of 30 a second are even; a missing frame and a slow drift are not."""
    assert Stamps(tuple(ticks), Fraction(1, 1000)).is_even(Fraction(30)) is even


def test_long_lists_of_times_lie_in_a_file(ffmpeg, tmp_path):
    """Ten thousand uneven frames: no argument outgrows an operating system's limit, and ffmpeg takes the list."""
    ticks, at = [], 0
    for n in range(10_000):
        ticks.append(at)
        at += 1500 + (n * 7919) % 701
    stamps = Stamps(tuple(ticks), Fraction(1, 90000))
    rate = Fraction(9_999, 1) / (stamps.ticks[-1] * stamps.tick)
    args = restore_args(stamps, rate.limit_denominator(1001), tmp_path)
    assert sum(map(len, args)) < 5000
    graph = f"color=size=64x64:rate={rate.limit_denominator(1001)}"
    out = lavfi(ffmpeg, tmp_path / "o.mp4", "-frames:v", "10000", "-c:v", "mpeg4", "-bf", "2", *args, graph=graph)
    shown = sorted(row[2] for row in packets(ffmpeg, out))
    assert [time - shown[0] for time in shown] == [tick * stamps.tick for tick in ticks]


@pytest.mark.parametrize(("name", "asked", "answered"), [("libaom-av1", "8", "6"), ("libaom-av1", "6", "6")])
def test_an_equal_preset_is_answered_as_the_trained_one(name, asked, answered):
    """The shipped forecast was trained on libaom-av1 6; 7 and 8 give the same bytes."""
    from vmaf_assay.registry.store import load_verified, registry_dir
    from vmaf_assay.tune.forecast import chosen_preset

    sidecar = load_verified(registry_dir(None), "vmaf_forecast_ensemble_v1").ensemble.sidecar
    assert chosen_preset(sidecar, name, asked) == answered


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_the_final_encode_of_3d_video_can_be_scored(ffmpeg, sources, tmp_path, suffix):
    """Ffmpeg n9.0.2 does not decode H.264 in Matroska whose header and stream both say the 3D layout."""
    both = tmp_path / "cfr.mkv"
    argv = [
        "-i",
        str(sources["cfr"]),
        "-c:v",
        "libx264",
        "-crf",
        "10",
        "-x264-params",
        "frame-packing=3",
        str(both),
    ]
    assert process.run([*ffmpeg.base_argv(), *argv]).exit_code == 0
    reference = reference_of(both)
    out = final_file(ffmpeg, reference, "libx264", tmp_path / f"out.{suffix}")
    assert score_pair(ffmpeg, reference, out).n_frames == N_FRAMES


def test_times_that_half_of_the_frames_share_are_none():
    """A container without times gives many frames the same one: the encode keeps its even times."""
    reference = ReferenceInput(Path("a.mp4"), Fraction(25), 6, (192, 108))
    assert not stamps_of("0 1/25\n0 1/25\n3 1/25\n3 1/25\n0 1/25\n3 1/25\n", reference).ticks
    assert stamps_of("0 1/25\n1 1/25\n1 1/25\n3 1/25\n4 1/25\n5 1/25\n", reference).ticks == (0, 1, 2, 3, 4, 5)
