"""The answer of `assay tune --by-scene` on a terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmaf_assay.cli.options import RunOptions

if TYPE_CHECKING:
    from vmaf_assay.api import SceneResult, TuneRequest


def tune_scenes(
    sources: Sequence[Path],
    out_dir: Path | None,
    request: "TuneRequest",
    asked: Mapping[str, Any],
    run: RunOptions,
) -> int:
    """Encode one source by scene, print the answer, and return the exit code.

    Args:
      sources: as given; more than one is refused.
      out_dir: as given; it is refused.
      request: what `assay tune` is asked.
      asked: further fields of `SceneRequest`.
      run: how it runs.
    """
    from vmaf_assay.api import SceneRequest, tune_scene_request
    from vmaf_assay.cli import render
    from vmaf_assay.errors import ConfigError

    if out_dir is not None or len(sources) > 1 or sources[0].is_dir():
        raise ConfigError("--by-scene takes one source and -o", next_step="run it for each source")
    with render.job("frames") as job:
        result = tune_scene_request(
            SceneRequest(request, **asked), page=run.report, **run.settings(job, request.measurand)
        )
    if run.report is not None:
        render.note(f"page: {run.report}")
    if run.as_json:
        render.emit_json(result.as_json())
    else:
        _render(result)
    return 0 if result.met else 1


def _render(result: "SceneResult") -> None:
    from vmaf_assay.cli import render

    render.say_table(
        ["from frame", "frames", "rate value", "forecast", "measured", "kB", "encodes"],
        [
            [
                row.first_frame,
                row.n_frames,
                row.rate_value,
                round(row.forecast_score, 2),
                round(row.score, 2),
                round(row.n_bytes / 1000, 1),
                row.encodes,
            ]
            for row in result.scenes
        ],
    )
    for reason in result.reasons:
        render.say(reason)
    verified = "" if result.verified_vmaf is None else ", the same measured again from scratch"
    render.say(
        f"{result.answer()}{verified}; {result.output}, {result.kbps:.0f} kbps, "
        f"{result.encodes_per_scene:.2f} encodes a scene"
    )
