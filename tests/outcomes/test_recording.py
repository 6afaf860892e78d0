"""What `tune` and `compare` record, with real encodes; and what the verb does with it."""

import json
from pathlib import Path

import pytest

from tests.conftest import lavfi
from tests.outcomes.made import outcome
from tests.tune.made_up import RATES, verified
from tests.tune.test_compare import two_encoders
from vmaf_assay.api import tune_request
from vmaf_assay.cli.main import main
from vmaf_assay.errors import ConfigError
from vmaf_assay.media.files import sha256_file
from vmaf_assay.outcomes.recorder import keyed
from vmaf_assay.outcomes.store import OutcomeStore
from vmaf_assay.tune.compare import compare
from vmaf_assay.tune.compare_request import CompareRequest
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.run import tune


@pytest.fixture(scope="module")
def source(ffmpeg, tmp_path_factory) -> Path:
    """`-f lavfi -i testsrc2=size=192x108:rate=25,noise=alls=12:allf=t -frames:v 12 -c:v ffv1 source.mkv`."""
    path = tmp_path_factory.mktemp("recording") / "source.mkv"
    graph = "testsrc2=size=192x108:rate=25,noise=alls=12:allf=t"
    return lavfi(ffmpeg, path, "-frames:v", "12", "-c:v", "ffv1", "-pix_fmt", "yuv420p", graph=graph)


@pytest.mark.ffmpeg
def test_a_verified_tune_is_recorded(ffmpeg, source, tmp_path):
    """The trial and the final encode are in the store as the answer has them, and again is not twice."""
    store = tmp_path / "outcomes"
    request = TuneRequest(source, "libx264", 85.0, 0.9, output=tmp_path / "out.mkv", verify=True, force=True)
    settings = {"ensemble": verified(), "ffmpeg": ffmpeg, "outcomes_dir": store}
    result = tune_request(request, **settings)
    with OutcomeStore(store) as opened:
        trial, final = list(opened.outcomes())
        assert trial.source == final.source == keyed(opened.salt, sha256_file(source), 32)
    assert (trial.delivered.kind, final.delivered.kind) == ("trial", "final")
    assert trial.delivered.measured == result.trials[0]["measured_vmaf"]
    assert not trial.delivered.promised
    assert trial.delivered.trials == 0
    one = final.delivered
    assert (one.rate_value, one.forecast, one.bound) == (result.rate_value, result.mu, result.lower_bound)
    assert (one.measured, one.kbps, one.promised) == (result.measured_vmaf, result.kbps, result.promised)
    assert (one.target, one.confidence, one.trials, one.plain) == (85.0, 0.9, 1, True)
    encoders = {"libx264", *(probe.encoder for probe in result.probes)}
    assert dict(one.tools).keys() == {"ffmpeg", "libvmaf"} | encoders
    assert one.forecasted.rate_values == tuple(RATES)
    assert [probe.vmaf for probe in one.forecasted.probes] == pytest.approx(
        [probe.vmaf for probe in result.probes], abs=1e-4
    )
    assert one.forecasted.n_frames == 12
    kept = b"".join(path.read_bytes() for path in store.iterdir())
    assert b"source.mkv" not in kept
    assert str(tmp_path).encode() not in kept
    tune_request(request, **settings)
    with OutcomeStore(store) as opened:
        assert len(opened) == 2


@pytest.mark.ffmpeg
def test_only_the_promised_encode_counts_as_promised(ffmpeg, source, tmp_path):
    """An encode that missed is recorded, and the ones after it as retries, of which nothing was promised."""
    seen = []
    out = tmp_path / "out.mkv"
    request = TuneRequest(source, "libx264", 85.0, 0.9, trials=0, output=out, verify=True, retry=2)
    result = tune(ffmpeg, verified(centre=49.0), request, on_measured=lambda path, one: seen.append((path, one)))
    assert result.missed
    assert {path for path, _ in seen} == {source}
    assert [one.kind for _, one in seen] == ["final", *["retry"] * len(result.missed)]
    assert [one.promised for _, one in seen] == [result.promised, *[False] * len(result.missed)]
    measured = [*(one.measured_vmaf for one in result.missed), result.measured_vmaf]
    assert [one.measured for _, one in seen] == measured
    assert [one.kept for _, one in seen] == [vmaf >= 85.0 for vmaf in measured]


@pytest.mark.ffmpeg
def test_a_measured_comparison_is_recorded(ffmpeg, source):
    """Each measured encode of each contender is there; only the choice was promised."""
    seen = []
    request = CompareRequest(source, ("libx264", "libx265"), 85.0, 0.9, measure=True)
    answer = compare(ffmpeg, two_encoders(), request, on_measured=lambda _, one: seen.append(one))
    assert len(answer.contenders) == 2
    for contender in answer.contenders:
        mine = [one for one in seen if one.encoder == contender.encoder]
        assert [(one.rate_value, one.measured) for one in mine] == [
            (point.rate_value, point.vmaf) for point in contender.encodes
        ]
        assert [one.promised for one in mine] == [contender.promised, *[False] * (len(mine) - 1)]
        assert {one.kind for one in mine} == {"compare"}
        assert mine[0].bound == contender.lower_bound


def test_a_store_open_to_others_ends_before_any_encode(tmp_path):
    """The wrong folder is refused before the source is even opened."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    request = TuneRequest(tmp_path / "absent.mkv", "libx264")
    with pytest.raises(ConfigError, match="store of outcomes"):
        tune_request(request, ensemble=verified(), outcomes_dir=folder)


def _filled(folder: Path, numbers) -> Path:
    with OutcomeStore(folder) as store:
        store.add(outcome(number, day=f"2026-11-{number:02d}") for number in numbers)
    return folder


def test_the_verb_lists_shows_exports_merges_and_forgets(tmp_path, monkeypatch, capsys):
    """Every act of the verb on a store, in JSON, by exit code."""
    mine, other = _filled(tmp_path / "mine", range(1, 4)), _filled(tmp_path / "other", range(3, 6))
    monkeypatch.setenv("ASSAY_OUTCOMES", str(mine))

    def said(*argv: str):
        assert main(["outcomes", *argv, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert said("list", "--last", "2")["outcomes"] == 3
    first = said("list")["newest"][-1]
    assert said("show", first["id"][:8]) == [first]
    assert first["tools"] == {"ffmpeg": "9.0", "libvmaf": "3.1", "libx264": "165"}
    assert said("merge", str(other))["merged"] == [{"folder": str(other), "outcomes": 3, "new": 2}]
    assert said("export", "-o", str(tmp_path / "out.jsonl"))["outcomes"] == 5
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == first
    assert said("forget", "--before", "2026-11-03") == {"store": f"{mine}/outcomes.sqlite", "erased": 2, "left": 3}
    assert said("forget", "--source", f"{3:032x}")["left"] == 2
    assert said("forget", "--all")["left"] == 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["forget"], "say what to erase"),
        (["forget", "--all", "--before", "2026-01-01"], "say what to erase"),
        (["forget", "--before", "yesterday"], "is no day"),
        (["forget", "--source", "%"], "neither a file nor a digest"),
        (["show", "abcd"], "no outcome of abcd"),
        (["show", "*"], "no outcome"),
        (["merge", "nowhere"], "holds no"),
    ],
)
def test_a_wrong_call_is_exit_2_and_changes_nothing(tmp_path, monkeypatch, capsys, argv, words):
    """One line says what is wrong; the store stays."""
    monkeypatch.setenv("ASSAY_OUTCOMES", str(_filled(tmp_path / "mine", range(1, 4))))
    assert main(["outcomes", *argv]) == 2
    assert words in capsys.readouterr().err
    with OutcomeStore(tmp_path / "mine") as store:
        assert len(store) == 3
