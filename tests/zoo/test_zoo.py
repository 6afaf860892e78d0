"""Files as people have them: facts, streams, frames and score are those that plain tools found."""

import json
import re
from pathlib import Path

import pytest

from tests.zoo.answers import ANSWERS, fixed_encode, frames, shown, streams
from tests.zoo.make import make
from tests.zoo.recipes import Recipe, recipes
from vmaf_assay.errors import ConfigError, MediaError
from vmaf_assay.media.encoders import ENCODERS
from vmaf_assay.media.score import score_pair
from vmaf_assay.tune.final import FinalEncode, write_final
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.source import open_source
from vmaf_assay.tune.streams_plan import CarryPlan, plan_carry, rehearse

pytestmark = pytest.mark.ffmpeg

TOLD = json.loads(ANSWERS.read_text())
NO_DECODER = {"audio none", "audio apple_apac"}
TEXT = {"subrip", "ass", "webvtt", "mov_text"}
X264 = ENCODERS["libx264"]


def test_the_zoo_is_large_and_answered():
    """At least 120 files, at least 40 of them layouts of public reports, each with an answer and none without."""
    every = recipes()
    assert len(every) >= 120
    assert len({recipe.report for recipe in every if recipe.report}) >= 40
    assert [shown(recipe.name) for recipe in every] == list(TOLD)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Where the files are made."""
    return tmp_path_factory.mktemp("zoo")


def each_recipe() -> list:
    """Every recipe as a test's parameter."""
    return [pytest.param(number, id=shown(recipe.name)) for number, recipe in enumerate(recipes())]


@pytest.mark.parametrize("number", each_recipe())
def test_zoo(ffmpeg, folder, number):
    """Frames, size and rate are right; every stream comes through or is announced; every frame is encoded."""
    recipe = recipes()[number]
    told = TOLD[shown(recipe.name)]
    source = make(recipe, folder / str(number), ffmpeg.path)
    assert streams(ffmpeg.path, source) == told["streams"]  # the file is the one that was looked at
    if recipe.refused:
        with pytest.raises(MediaError, match=recipe.refused):
            open_source(ffmpeg, source)
        return
    reference, _ = open_source(ffmpeg, source)
    width, height = (int(side) // 2 * 2 for side in told["size"].split("x"))
    assert (reference.n_frames, reference.size) == (told["frames"], (width, height))
    if recipe.rate != "vfr":
        assert f"{reference.frame_rate}" == recipe.rate
    suffix = "mp4" if number % 3 == 0 else "mkv"
    plan = checked_plan(ffmpeg, source, recipe, f"out.{suffix}")
    if plan is None:
        return
    encode = FinalEncode(reference, X264, "ultrafast", 26, plan)
    out = source.parent / f"out.{suffix}"
    plan = rehearse(ffmpeg, encode.argv(ffmpeg, out), source, plan)
    request = TuneRequest(source, "libx264", 80.0, 0.9, output=out, force=True)
    write_final(ffmpeg, request, encode, None)
    assert frames(ffmpeg.path, out)[0] == told["frames"]
    check_streams(ffmpeg, out, plan)


def checked_plan(ffmpeg, source: Path, recipe: Recipe, name: str) -> CarryPlan | None:
    """The plan, compared with what another tool found in a copy of each stream; None if no codec helps."""
    told = TOLD[shown(recipe.name)]
    suffix = name.partition(".")[2]
    sounds = [index for index in range(len(told["streams"])) if kind_of(told, index) == "audio"]
    beyond = [index for index in sounds if not told[suffix][index]]
    if beyond:
        known = all(told["streams"][index] not in NO_DECODER for index in beyond)
        advice = "--audio-codec" if known else "end the output in .mov, which takes it"
        with pytest.raises(ConfigError, match=rf"audio stream 0:{beyond[0]} .*{advice}"):
            plan_carry(ffmpeg, source, name, X264, "ultrafast")
        if not known:
            return None
    plan = plan_carry(ffmpeg, source, name, X264, "ultrafast", audio_codec="flac" if beyond else "")
    kept = {stream.index for stream in plan.mapped}
    announced = {int(found) for loss in plan.losses for found in re.findall(r"stream 0:(\d+)", loss)}
    picture = plan.mapped[0].index
    for index, taken in enumerate(told[suffix]):
        kind, codec = told["streams"][index].split()
        anew = kind == "data" and index not in kept | announced
        assert index in kept | announced or anew, (index, plan)
        if index == picture or anew or index in announced:
            continue
        assert taken, (index, plan)
    for index in announced & kept:  # converted
        kind, codec = told["streams"][index].split()
        assert kind == "audio" or codec in TEXT
    for index in announced - kept:
        cover = kind_of(told, index) in ("video", "attachment") and suffix == "mkv"
        assert not told[suffix][index] or cover, (index, plan.losses)
    return plan


def kind_of(told: dict, index: int) -> str:
    """Kind of a stream."""
    return told["streams"][index].split()[0]


def check_streams(ffmpeg, out: Path, plan: CarryPlan) -> None:
    """Every stream mapped is in the output, by ffmpeg's own list; data streams may be added by the muxer."""
    there = [one.split()[0] for one in streams(ffmpeg.path, out)]
    for kind in ("video", "audio", "subtitle", "attachment"):
        assert there.count(kind) == sum(stream.kind == kind for stream in plan.mapped), (there, plan)


SCORED = [recipe for recipe in recipes() if not recipe.refused][::7]


@pytest.mark.parametrize("recipe", SCORED, ids=[shown(recipe.name) for recipe in SCORED])
def test_the_score_is_the_plain_one(ffmpeg, tmp_path, recipe):
    """VMAF of one fixed encode is what plain ffmpeg gave for it, over lossless files, to 1e-3."""
    source = make(recipe, tmp_path, ffmpeg.path)
    reference, _ = open_source(ffmpeg, source)
    told = TOLD[shown(recipe.name)]
    out = fixed_encode(ffmpeg.path, source, told["size"], tmp_path)
    measured = score_pair(ffmpeg, reference, out).pooled_vmaf
    assert measured == pytest.approx(told["vmaf"], abs=1e-3)
