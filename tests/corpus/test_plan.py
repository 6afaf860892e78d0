"""Cell keys follow the command that runs, and nothing else."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from vmaf_assay.corpus.plan import CorpusReference, cell_key, parse_encoder, plan_cells
from vmaf_assay.corpus.sources import Source
from vmaf_assay.errors import ConfigError
from vmaf_assay.media import commands, reference
from vmaf_assay.media.encoders import encoder_info, with_extra_args

VERSIONS = {"ffmpeg": "n9", "libvmaf": "3.0.0", "libx264": "1"}
RENDITION = CorpusReference(
    "a", Source("a", "a", Path("a.mp4")), "0" * 64, (1280, 720), Fraction(30000, 1001), max_frames=96
)
X264 = encoder_info("libx264")


def key(rendition=RENDITION, encoder=X264, preset="medium", rate_value=30.0, versions=VERSIONS) -> str:
    """The key of a cell."""
    return cell_key(rendition, encoder, preset, rate_value, versions)


def test_paths_names_and_clocks_are_no_part_of_a_key():
    """Another path, name or group of the same bytes gives the same cell."""
    elsewhere = replace(RENDITION, name="b", source=Source("b", "other", Path("/tmp/b.mp4")))
    assert key(elsewhere) == key()


def test_each_part_of_a_request_changes_the_key():
    """Source, size, rate, length, encoder, options, preset, rate value, tool versions: each makes another cell."""
    keys = [
        key(),
        key(replace(RENDITION, source_sha256="1" * 64)),
        key(replace(RENDITION, size=(640, 360))),
        key(replace(RENDITION, frame_rate=Fraction(25))),
        key(replace(RENDITION, max_frames=95)),
        key(replace(RENDITION, source=Source("a", "a", Path("a.mp4"), start_s=1.0))),
        key(encoder=encoder_info("libx265"), versions=VERSIONS | {"libx265": "1"}),
        key(encoder=with_extra_args(X264, "-tune grain")),
        key(encoder=replace(X264, fixed_args=("-threads", "8"))),
        key(encoder=replace(X264, pix_fmts=("yuv420p10le",))),
        key(encoder=replace(X264, file_bsf="null")),
        key(encoder=replace(X264, constant_quality_args=("-aq-mode", "2"))),
        key(preset="fast"),
        key(replace(RENDITION, rgb_matrix="bt709")),
        key(replace(RENDITION, bit_depth=10)),
        key(rate_value=30.1),
        key(versions=VERSIONS | {"ffmpeg": "n10"}),
        key(versions=VERSIONS | {"libvmaf": "3.1.0"}),
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (
            commands,
            "libvmaf_filter",
            lambda *_: "libvmaf=model=version=vmaf_v0.6.1neg:log_fmt=json:log_path=vmaf.json",
        ),
        (commands, "compare_graph", lambda *_: "[r][d]libvmaf[o]"),
        (commands, "compare_outputs", lambda *_: ["-map", "[o]", "-f", "null", "-"]),
        (commands, "SIGNATURE_FILTER", "scale=16:9,format=gray"),
        (commands, "_ONE_BY_ONE", ("-fps_mode", "cfr")),
        (commands, "FORMAT", 99),
        (commands, "normalise_filters", lambda *_: ["scale=flags=lanczos", "format=yuv420p"]),
        (reference, "normalise_filters", lambda *_: ["scale=flags=lanczos", "format=yuv420p"]),
        (reference.ReferenceInput, "tick", lambda _: "setpts=N"),
        (reference.ReferenceInput, "filters", lambda _: ["null"]),
        (reference.ReferenceInput, "encode_filters", lambda _: ["null"]),
        (commands, "encoder_args", lambda *_: ["-c:v", "libx264"]),
    ],
)
def test_each_part_of_the_graph_changes_the_key(monkeypatch, module, name, value):
    """Whatever of the commands is another, filters, pairing, libvmaf's options or the encoder's, so is the key."""
    before = key()
    monkeypatch.setattr(module, name, value)
    assert key() != before


@pytest.mark.parametrize(
    ("name", "one", "same"), [("libaom-av1", "6", "8"), ("libvpx-vp9", "5", "7"), ("libsvtav1", "11", "13")]
)
def test_nothing_is_trained_on_twice(name, one, same):
    """Two presets that give the same bytes are refused in one corpus; each by itself is taken."""
    requests = [parse_encoder(f"{name}:{preset}:30", None) for preset in (one, same)]
    versions = {"ffmpeg": "n9", "libvmaf": "3.0.0", name: "1"}
    with pytest.raises(ConfigError, match=f"{name} {same} gives the bytes of {name} {one}"):
        plan_cells([RENDITION], requests, versions)
    assert len(plan_cells([RENDITION], requests[1:], versions)) == 1


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("libsvtav1:10:30,30.1", "30"),
        ("libaom-av1:6:30.5", "30"),
        ("libvpx-vp9:4:30.25", "30"),
        ("libvvenc:faster:30.5", "30"),
        ("libx264:medium:30.005", "30"),
    ],
)
def test_rate_values_that_the_encoder_would_round_are_refused(text, wanted):
    """Ffmpeg rounds them, half to even, and says nothing: a cell would be trained on as what it is not."""
    with pytest.raises(ConfigError, match="in steps of") as refused:
        parse_encoder(text, None)
    assert str(refused.value).endswith(f"write {wanted}")


def test_rates_for_every_encoder_are_checked_too():
    """`--rates` that one of the encoders would round is refused."""
    with pytest.raises(ConfigError, match=r"libvvenc takes qp in steps of 1, not 30\.5"):
        parse_encoder("libvvenc:faster", (30.0, 30.5))


def test_keys_of_measured_corpora_stay():
    """A change of this digest measures every corpus again, which takes days: it needs a decision of its own."""
    ten = parse_encoder("libx265:medium:28:10-bit", None)
    assert ten.encoder.pix_fmt == "yuv420p10le"
    versions = {"ffmpeg": "n9", "libvmaf": "3", "libx265": "1"}
    (cell,) = plan_cells([RENDITION], [ten], versions)
    assert key()[:16] == "fe9cd0fa60693b9d"
    assert cell.key[:16] == "5dc12e3127319b99"


def test_depths_are_cells_of_their_own():
    """One encoder, preset and rate value at 8 and at 10 bits are two cells; other depths are refused."""
    requests = [parse_encoder(text, None) for text in ("libx265:medium:28", "libx265:medium:28:10-bit")]
    versions = {"ffmpeg": "n9", "libvmaf": "3", "libx265": "1"}
    assert [cell.rendition.pix_fmt for cell in plan_cells([RENDITION], requests, versions)] == [
        "yuv420p",
        "yuv420p10le",
    ]
    with pytest.raises(ConfigError, match="no bit depth"):
        parse_encoder("libx265:medium:28:12-bit", None)
    with pytest.raises(ConfigError, match="does not take yuv420p10le"):
        parse_encoder("libkvazaar:medium:28:10-bit", None)
