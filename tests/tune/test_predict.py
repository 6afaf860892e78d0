"""Scoring encodes that exist: bounds, support, and the tables it may be given."""

import re
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from tests.conftest import lavfi
from vmaf_assay.cli import main as cli
from vmaf_assay.errors import ConfigError, CorpusError
from vmaf_assay.media import process
from vmaf_assay.model.codec_block import VOCABULARIES
from vmaf_assay.model.infer import Prediction
from vmaf_assay.model.sidecar import GroupResiduals, HeldOut, IntervalCalibration, Seen, SeenEncoder, Sidecar
from vmaf_assay.records import CANONICAL6
from vmaf_assay.registry.store import VerifiedEnsemble
from vmaf_assay.tune.aspect import Shape
from vmaf_assay.tune.predict import read_table, score_features

SIDECAR = Sidecar(
    id="fr_regressor_v2_ensemble_v1_mean",
    task="fr",
    role="mean",
    feature_names=list(CANONICAL6),
    encoder_vocab_version=2,
    encoder_vocab=list(VOCABULARIES[2]),
    opset=17,
    seen=Seen(
        encoders=[SeenEncoder(encoder="libx264", preset="medium", rate_values=[18.0, 40.0])],
        feature_min=[0.0] * 6,
        feature_max=[1.0] * 6,
        feature_mean=[0.5] * 6,
        feature_std=[0.2] * 6,
        min_pixels=0,
        max_pixels=0,
    ),
    recipe={},
    corpus_digest="0" * 64,
    held_out=HeldOut(mean_plcc=1, mean_srocc=1, mean_rmse=1),
    onnx_sha256="0" * 64,
)


def verified(*, groups: int = 19, eligible: bool = True) -> VerifiedEnsemble:
    """An ensemble that says 100 times the first feature; group k was wrong by k - 9 points, once."""
    residuals = [GroupResiduals(group=f"g{k:02d}", residuals=[float(k - 9)]) for k in range(groups)]
    calibration = IntervalCalibration(
        ensemble="fr_regressor_v2_ensemble_v1", corpus_digest="0" * 64, groups=residuals
    )

    def predict(features, codec) -> Prediction:
        mu = 100 * features[:, 0].astype(np.float64)
        return Prediction(mu, np.full(len(mu), 0.1), np.stack([mu] * 5, axis=1))

    made_up = SimpleNamespace(sidecar=SIDECAR, predict=predict)
    return VerifiedEnsemble(
        made_up, calibration, eligible, SimpleNamespace(ensemble="fr_regressor_v2_ensemble_v1")
    )


def score(rows, ensemble=None, *, confidence=0.9, rate_value=30.0):
    """Rows of equal features scored as libx264 medium."""
    features = np.repeat(np.array(rows)[:, None], 6, axis=1)
    n = len(rows)
    return score_features(
        ensemble or verified(), features, ["libx264"] * n, ["medium"] * n, [rate_value] * n, confidence=confidence
    )


def test_bounds_are_the_order_statistics_of_the_residuals():
    """19 groups of one residual at 0.90: the second lowest and the second highest, by hand -8 and +8."""
    scores = score([0.5])
    assert (scores.mu[0], scores.lower[0], scores.upper[0]) == (50.0, 42.0, 58.0)
    assert scores.bounded


def test_bounds_stay_on_the_scale():
    """VMAF lies between 0 and 100, and so do the mean and its bounds."""
    scores = score([0.01, 0.99, 1.2])
    np.testing.assert_allclose(scores.lower[0], 0.0)
    np.testing.assert_allclose(scores.upper[1:], 100.0)
    assert scores.mu[2] == 100.0


def test_confidence_beyond_the_groups_is_refused():
    """No bound is invented: above K / (K + 1) the request is refused with what is possible."""
    with pytest.raises(ConfigError, match="needs 99 calibration groups, there are 19"):
        score([0.5], confidence=0.99)


def test_without_coverage_there_is_an_answer_but_no_bound():
    """An ensemble that is not confidence_eligible still predicts; its bounds are absent, not guessed."""
    scores = score([0.5], verified(eligible=False))
    assert scores.mu[0] == 50.0
    assert not scores.bounded
    assert np.isnan([scores.lower[0], scores.upper[0]]).all()


def test_what_was_never_seen_is_not_supported():
    """A feature or a rate value far outside training is answered with `supported` false and the reason."""
    scores = score([0.5, 9.0])
    assert scores.supported == [True, False]
    assert "far outside the trained" in scores.reasons[1]
    outside = score([0.5], rate_value=45.0)
    assert outside.supported == [False]
    assert "outside the trained 18 to 40" in outside.reasons[0]


def table(**changes) -> pl.DataFrame:
    """Two good rows."""
    columns = {name: [0.5, 0.6] for name in CANONICAL6}
    columns |= {"encoder": ["libx264"] * 2, "preset": ["medium"] * 2, "rate_value": [22, 30], "note": ["a", "b"]}
    return pl.DataFrame(columns | changes)


def write(frame: pl.DataFrame, path) -> None:
    """The table in the format its name says."""
    writers = {".parquet": frame.write_parquet, ".csv": frame.write_csv, ".jsonl": frame.write_ndjson}
    writers[path.suffix](path)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_tables_read_the_same_in_every_format(tmp_path, suffix):
    """Parquet, CSV and JSON lines give the same rows; other columns are left out."""
    path = tmp_path / f"t{suffix}"
    write(table(), path)
    rows = read_table(path)
    assert set(rows.columns) == {*CANONICAL6, "encoder", "preset", "rate_value"}
    assert rows["rate_value"].to_list() == [22.0, 30.0]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (table().drop("motion2"), "has no column motion2"),
        (table(adm2=[0.5, None]), "NaN or missing"),
        (table(adm2=[0.5, float("nan")]), "NaN or missing"),
        (table(adm2=["high", "low"]), "cannot be read"),
        (table(encoder=["libx264", None]), "NaN or missing"),
        (table().head(0), "holds no row"),
    ],
)
def test_bad_tables_are_refused(tmp_path, frame, message):
    """What cannot be scored is said in one line with the file's name."""
    write(frame, tmp_path / "t.parquet")
    with pytest.raises(CorpusError, match=message) as caught:
        read_table(tmp_path / "t.parquet")
    assert "t.parquet" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_tables_are_refused(tmp_path):
    """A missing file, an unknown suffix and a file that is not Parquet."""
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    (tmp_path / "t.xlsx").write_bytes(b"")
    for name, message in (
        ("torn.parquet", "cannot be read"),
        ("t.xlsx", "unknown kind"),
        ("no.csv", "no such file"),
    ):
        with pytest.raises(CorpusError, match=message):
            read_table(tmp_path / name)


def test_command_answers_a_table(tmp_path, capsys, monkeypatch):
    """`predict --table --json`: one object a row in order, exit 1 if one is not supported, null without bounds."""
    import json

    write(table(adm2=[0.5, 9.0]), tmp_path / "t.csv")
    monkeypatch.setattr("vmaf_assay.registry.store.load_verified", lambda *_: verified())
    assert cli.main(["predict", "--table", str(tmp_path / "t.csv"), "--confidence", "0.9", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [row["supported"] for row in document["rows"]] == [True, False]
    assert document["rows"][0] == pytest.approx(
        {"mu": 50.0, "sigma": 0.1, "lower": 42.0, "upper": 58.0, "supported": True, "reason": ""}
    )
    monkeypatch.setattr("vmaf_assay.registry.store.load_verified", lambda *_: verified(eligible=False))
    write(table(), tmp_path / "t.csv")
    assert cli.main(["predict", "--table", str(tmp_path / "t.csv"), "--confidence", "0.9", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["lower"] is None


@pytest.mark.parametrize(
    "options", [[], ["--reference", "r.mkv"], ["--reference", "r", "--distorted", "d", "--table", "t.csv"]]
)
def test_command_wants_a_pair_or_a_table(options, capsys, monkeypatch):
    """Anything else than one pair or one table is a usage error in one line."""
    monkeypatch.setattr("vmaf_assay.registry.store.load_verified", lambda *_: verified())
    assert cli.main(["predict", *options]) == 2
    assert capsys.readouterr().err == (
        "error: give a pair or a table; --reference R --distorted D, or --table FILE\n"
    )


@pytest.mark.ffmpeg
def test_command_scores_a_pair(ffmpeg, clip, capsys, monkeypatch):
    """A file against itself: measured alone without an encoder, and with one beside the prediction."""
    import json

    monkeypatch.setattr("vmaf_assay.registry.store.load_verified", lambda *_: verified())
    argv = ["predict", "--reference", str(clip), "--distorted", str(clip), "--confidence", "0.9", "--json"]
    assert cli.main([*argv, "-e", "x264"]) == 2
    assert "a prediction needs the encoder and rate value of the encode" in capsys.readouterr().err
    assert cli.main([*argv, "-e", "x264:slow:20", "--rate-value", "20"]) == 2
    assert "names a rate value" in capsys.readouterr().err
    code = cli.main([*argv, "-e", "x264:medium", "--rate-value", "20"])
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert code == (0 if row["supported"] else 1)
    assert row["n_frames"] == 12
    assert row["measured_vmaf"] > 95


@pytest.mark.ffmpeg
def test_a_pair_needs_no_encoder_and_no_model(ffmpeg, clip, tmp_path, capsys):
    """Two files are measured without any registry: each frame as libvmaf alone scores it, with a page."""
    import json

    worse = lavfi(
        ffmpeg, tmp_path / "worse.mkv", "-frames:v", "12", "-c:v", "libx264", "-crf", "40", "-pix_fmt", "yuv420p"
    )
    plain = lavfi(ffmpeg, tmp_path / "plain.mkv", "-frames:v", "12", "-c:v", "ffv1", "-pix_fmt", "yuv420p")
    page = tmp_path / "page.html"
    argv = ["predict", "--reference", str(plain), "--distorted", str(worse), "--registry", str(tmp_path)]
    assert cli.main([*argv, "--report", str(page), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["ensemble"], document["rows"]) == (None, [])
    pair = document["pair"]
    log = tmp_path / "vmaf.json"
    graph = f"[0:v][1:v]libvmaf=model=version=vmaf_v0.6.1:log_fmt=json:log_path={log}"
    argv_plain = [
        *ffmpeg.base_argv(),
        "-i",
        str(worse),
        "-i",
        str(plain),
        "-filter_complex",
        graph,
        "-f",
        "null",
        "-",
    ]
    assert process.run(argv_plain).exit_code == 0
    expected = [frame["metrics"]["vmaf"] for frame in json.loads(log.read_text())["frames"]]
    np.testing.assert_allclose(pair["frame_vmaf"], expected, atol=2e-3)
    assert pair["measured_vmaf"] == pytest.approx(np.mean(expected), abs=1e-3)
    assert pair["min_vmaf"] == pytest.approx(min(expected), abs=1e-3)
    assert f"{pair['measured_vmaf']:.2f}" in page.read_text(encoding="utf-8")
    assert cli.main(argv) == 0
    assert f"mean VMAF {pair['measured_vmaf']:.2f} over 12 frames" in capsys.readouterr().out.splitlines()[-1]


@pytest.fixture(scope="module")
def letterboxed(ffmpeg, tmp_path_factory) -> tuple[Path, Path]:
    """A 192x108 source with bars of 14 px above and below, and an encode of it without them, 192x80."""
    folder = tmp_path_factory.mktemp("bars")
    made = ("-frames:v", "12", "-c:v", "libx264", "-crf", "1", "-pix_fmt", "yuv420p")
    graph = "testsrc2=size=192x80:rate=25,eq=brightness=0.1"
    cropped = lavfi(ffmpeg, folder / "cropped.mkv", *made, graph=graph)
    return lavfi(ffmpeg, folder / "barred.mkv", *made, graph=f"{graph},pad=192:108:0:14"), cropped


@pytest.mark.ffmpeg
def test_pictures_of_unlike_shape_are_refused_with_the_crop_that_aligns_them(letterboxed, capsys):
    """A cropped encode against its letterboxed source: refused in words; with the crop named it scores high."""
    barred, cropped = letterboxed
    argv = ["predict", "--reference", str(barred), "--distorted", str(cropped)]
    assert cli.main(argv) == 2
    said = capsys.readouterr().err
    assert "aspect ratios differ: barred.mkv is 192x108 (1.78:1), cropped.mkv is 192x80 (2.40:1)" in said
    assert said.rstrip().endswith("with --vf crop=192:80:0:14")
    assert cli.main([*argv, "--vf", "crop=192:80:0:14"]) == 0
    assert float(re.search(r"mean VMAF ([\d.]+)", capsys.readouterr().out)[1]) > 90
    assert cli.main(["predict", "--reference", str(cropped), "--distorted", str(barred)]) == 2
    assert "the encode has black bars (crop=192:80:0:14)" in capsys.readouterr().err


@pytest.mark.ffmpeg
def test_shapes_without_bars_are_refused_without_a_crop(ffmpeg, clip, tmp_path, capsys):
    """A picture squashed from 16:9 to 4:3 is no crop: it is refused, and no crop is made up."""
    squashed = lavfi(
        ffmpeg,
        tmp_path / "squashed.mkv",
        "-frames:v",
        "12",
        "-c:v",
        "libx264",
        "-pix_fmt",
        "yuv420p",
        graph="testsrc2=size=192x108:rate=25,scale=144:108,setsar=1",
    )
    assert cli.main(["predict", "--reference", str(clip), "--distorted", str(squashed)]) == 2
    assert "aspect ratios differ" in (said := capsys.readouterr().err)
    assert "crop=WIDTH:HEIGHT:X:Y" in said


def test_shapes_by_hand():
    """Sizes rounded by an encoder, and anamorphic ones, are one shape; a crop of 3 % is another."""
    full = Shape(1920, 1080)
    assert full.like(Shape(848, 480))  # 853.3 rounded to a multiple of 16
    assert full.like(Shape(1440, 1080, Fraction(4, 3)))  # displayed at 16:9
    assert Shape(720, 576, Fraction(16, 11)).like(Shape(720, 576))  # the flag was lost, the pixels are the same
    assert not full.like(Shape(1920, 1040))
    assert not full.like(Shape(1440, 1080))
