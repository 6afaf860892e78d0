"""A margin of the shipped calibration and the user's own titles."""

import shutil

import numpy as np
import pytest

from tests.admission.test_lifecycle import WHY
from tests.crafted import FORECAST, PROBE, RATES, held_out_predictions, make_run
from tests.registry.conftest import validated
from vmaf_assay.admission.lifecycle import revalidate, rollback
from vmaf_assay.admission.promotion import Who, promote
from vmaf_assay.admission.recalibrate import LEAST_TITLES, recalibrate, titles_of
from vmaf_assay.cli.main import main
from vmaf_assay.errors import ConfigError, IntegrityError
from vmaf_assay.model.sidecar import TitleCurve
from vmaf_assay.outcomes.record import Delivered, Forecasted, Outcome
from vmaf_assay.outcomes.store import OutcomeStore
from vmaf_assay.promise.choice import calibrate_margin
from vmaf_assay.promise.conformal import OWN_TITLES, weightings
from vmaf_assay.promise.curves import MOST_OF_ONE, curves_of, title_weights
from vmaf_assay.promise.tools import CORPORA, MEASURED_WITH
from vmaf_assay.registry.entries import history
from vmaf_assay.registry.store import VerifiedEnsemble, load_verified, registry_dir
from vmaf_assay.registry.verify import verify_registry
from vmaf_assay.training.evidence import load_run

TOOLS = tuple((name, MEASURED_WITH[name]) for name in ("ffmpeg", "libvmaf", "libx264"))
FORECASTED = Forecasted(
    rate_values=RATES,
    mu=(96.5, 92.9, 86.0, 76.0, 66.0),
    sigma=(0.2,) * 5,
    known=((PROBE.rate_value, 86.0),),
    probes=(),
    width=640,
    height=360,
    frame_rate="25/1",
    n_frames=72,
    sampled=False,
)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A registry whose forecast promises."""
    folder = tmp_path_factory.mktemp("own")
    table = held_out_predictions(n_groups=24, error=0.5)
    promote(
        load_run(
            validated(make_run(folder / "run", model_id=FORECAST, predictions=table, corpus_digest=CORPORA[-1]))
        ),
        folder / "registry",
    )
    return folder / "registry"


@pytest.fixture
def mine(shipped, tmp_path):
    """A copy of it."""
    return shutil.copytree(shipped, tmp_path / "registry")


def outcome(number: int, verified: VerifiedEnsemble, measured: float, *, host: int = 0, **changes) -> Outcome:
    """An encode at CRF 22 of title `number`, forecast at 94.2."""
    facts = {
        "kind": "final",
        "encoder": "libx264",
        "preset": "medium",
        "measurand": verified.calibration.measurand,
        "plain": True,
        "target": 93.0,
        "confidence": 0.95,
        "trials": 0,
        "rate_value": 22.0,
        "forecast": 94.2,
        "bound": 93.0,
        "promised": True,
        "measured": measured,
        "whole": True,
        "kbps": 900.0,
        "model": verified.verdict.members[f"{FORECAST}_mean"],
        "calibration": verified.verdict.calibration_sha256,
        "tools": TOOLS,
        "forecasted": FORECASTED,
    }
    return Outcome(
        f"{number:032x}", f"{host:016x}", f"2026-11-{1 + number % 28:02}", Delivered(**(facts | changes))
    )


def scale_of(folder) -> float:
    """The margin that `tune` uses at 93, confidence 0.9."""
    curves = curves_of(load_verified(folder, FORECAST).calibration, titles=True)
    return calibrate_margin(curves, "libx264", "medium", target=93.0, confidence=0.9, trials=0).scale


def store_of(folder, outcomes) -> OutcomeStore:
    """A store with these outcomes."""
    store = OutcomeStore(folder)
    store.add(outcomes)
    return store


def test_without_outcomes_the_margin_is_the_shipped_one(mine, tmp_path):
    """No title: another verdict, the same calibration byte for byte."""
    old = load_verified(mine, FORECAST)
    with store_of(tmp_path / "outcomes", []) as store:
        made = recalibrate(mine, FORECAST, store, WHY)
    assert (made.verdict.act.kind, made.titles, made.too_few) == ("recalibrate", {}, {})
    assert made.verdict.calibration_sha256 == old.verdict.calibration_sha256
    assert made.verdict.sidecars == old.verdict.sidecars


@pytest.mark.parametrize(("shift", "wider"), [(-0.8, True), (0.8, False)])
def test_own_titles_move_the_margin_and_a_rollback_moves_it_back(mine, tmp_path, shift, wider):
    """Titles below their forecast widen the margin, better ones narrow it; the act verifies."""
    old, before = load_verified(mine, FORECAST), scale_of(mine)
    rng = np.random.default_rng(1)
    titles = [outcome(i, old, float(94.2 + shift + 0.1 * rng.standard_normal())) for i in range(OWN_TITLES)]
    with store_of(tmp_path / "outcomes", titles) as store:
        made = recalibrate(mine, FORECAST, store, WHY)
    assert made.titles == {"libx264": OWN_TITLES}
    assert (scale_of(mine) > before) is wider
    assert scale_of(mine) != before
    assert load_verified(mine, FORECAST).confidence_eligible
    rollback(mine, FORECAST, WHY, to=1)
    assert scale_of(mine) == before
    assert {one.status for one in verify_registry(mine)} == {"production"}


def test_a_title_cannot_be_changed_afterwards(mine, tmp_path, keys):
    """Signed, judged again alike, all that was computed agrees; an edited score is refused by every load."""
    old = load_verified(mine, FORECAST)
    with store_of(tmp_path / "outcomes", [outcome(i, old, 94.25) for i in range(LEAST_TITLES)]) as store:
        made = recalibrate(mine, FORECAST, store, Who(reason="ours", keys=(keys[0][1],)))
    newest = history(mine, FORECAST)[0]
    assert (newest.kind, len(newest.signed_by)) == ("recalibrate", 1)
    assert revalidate(mine, FORECAST, WHY).coverage == made.verdict.coverage
    (path,) = mine.glob(f"{FORECAST}_mean.{made.verdict.sidecars[f'{FORECAST}_mean'][:12]}.json")
    path.write_bytes(path.read_bytes().replace(b"94.25", b"94.75", 1))
    with pytest.raises(IntegrityError):
        load_verified(mine, FORECAST)


def test_what_is_refused(mine, tmp_path, capsys):
    """The shipped registry, too few titles, and promises not kept on titles left out; nothing is filed."""
    old = load_verified(mine, FORECAST)
    files = sorted(path.name for path in mine.iterdir())
    with store_of(tmp_path / "few", [outcome(i, old, 94.2) for i in range(LEAST_TITLES - 1)]) as store:
        with pytest.raises(ConfigError, match="no encoder has 20 own titles"):
            recalibrate(mine, FORECAST, store, WHY)
        with pytest.raises(ConfigError, match="shipped registry"):
            recalibrate(registry_dir(), FORECAST, store, WHY)
    spread = [outcome(i, old, 99.0 if i % 4 else 60.0, rate_value=18.0) for i in range(LEAST_TITLES)]
    store_of(tmp_path / "wild", spread).close()
    argv = ["registry", "recalibrate", FORECAST, "--reason", "x", "--registry", str(mine)]
    assert main([*argv, "--outcomes", str(tmp_path / "wild")]) == 2
    assert "titles left out" in capsys.readouterr().err
    assert sorted(path.name for path in mine.iterdir()) == files


def test_which_outcomes_become_titles(mine):
    """Only whole plain measurements of this model with calibrated tools, of titles that had a promise."""
    verified = load_verified(mine, FORECAST)
    sidecar, model = verified.ensemble.sidecar, verified.verdict.members[f"{FORECAST}_mean"]
    assert len(titles_of([outcome(1, verified, 94.0)], sidecar, model)) == 1
    for change in (
        {"whole": False},
        {"plain": False},
        {"promised": False},
        {"model": "b" * 64},
        {"span": (24, 24)},
        {"preset": "placebo"},
        {"tools": (("ffmpeg", "1.0"),)},
    ):
        assert titles_of([outcome(1, verified, 94.0, **change)], sidecar, model) == []
    twice = [outcome(1, verified, 94.0), outcome(1, verified, 93.2, rate_value=23.0, promised=False, kind="trial")]
    (one,) = titles_of(twice, sidecar, model)
    assert one.measured == [[22.0, 94.0], [23.0, 93.2]]
    assert one.targets == [93.0]


def title(number: int, host: str, day: str) -> TitleCurve:
    """A title for its host and day."""
    rates = list(RATES)
    curve = {
        "rate_values": rates,
        "mu": rates,
        "sigma": rates,
        "known": [],
        "measured": [[22.0, 93.0]],
        "targets": [93.0],
    }
    return TitleCurve(day=day, host=host, title=f"{number:032x}", encoder="libx264", preset="medium", **curve)


def test_no_host_and_no_day_outweighs_the_others():
    """However many titles one adds, they count as many as all others do, or as 20; a single host is the user's."""
    days = [f"2026-11-{1 + i % 28:02}" for i in range(1000)]
    ours = [title(i, "a", days[i]) for i in range(56)]
    assert title_weights(ours) == [1.0] * 56
    flood = [title(100 + i, "b", days[i]) for i in range(1000)]
    weights = title_weights([*ours, *flood])
    assert sum(weights[56:]) == pytest.approx(56)
    assert sum(title_weights([*ours[:5], *flood])[5:]) == pytest.approx(MOST_OF_ONE)
    one_day = [title(100 + i, "a", "2026-12-01") for i in range(500)]
    assert sum(title_weights([*ours, *one_day])[56:]) == pytest.approx(56)
    assert sum(title_weights(one_day)) == pytest.approx(MOST_OF_ONE)


def test_the_corpus_gives_way_to_own_titles():
    """None: every group counts 1. As many as `OWN_TITLES`: the corpus counts 0, and 1 as a resort."""
    assert [one.tolist() for one in weightings(np.zeros(3))] == [[1.0] * 3]
    many = np.array([0.0, *[1.0] * OWN_TITLES])
    assert [one[0] for one in weightings(many)] == [0.0, 1.0]
