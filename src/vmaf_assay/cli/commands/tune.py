"""`assay tune`, also installed as `vmaf-tune`."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vmaf_assay.media.ffmpeg import Ffmpeg
    from vmaf_assay.tune.batch import Item, Outcome
    from vmaf_assay.tune.request import TuneRequest
    from vmaf_assay.tune.result import CurvePoint, TuneResult

FORECAST = "vmaf_forecast_ensemble_v1"
Trials = Annotated[int, typer.Option(help="Trial encodes allowed: 0, 1 or 2.")]
EncoderArgs = Annotated[
    str, typer.Option(help='More options for the encoder, as "-tune grain"; ends the promise (see reasons).')
]
Reference = Annotated[
    str, typer.Option(help="VMAF against the `filtered` picture, or the `source` (one scale only).")
]
ProbeSeconds = Annotated[
    str,
    typer.Option(
        metavar="SECONDS|all",
        help="Of a longer source, probe segments of so many seconds in all; `all` probes every frame.",
    ),
]
Probes = Annotated[
    str | None,
    typer.Option(
        metavar="few|more",
        help="`few` probes are what the forecast reads; `more` adds encodes of the very encoder and preset, which "
        "serve every target (default: more without trials, few with).",
    ),
]
Report = Annotated[
    Path | None, typer.Option(metavar="PAGE", help="Write an HTML page too; of several sources a folder of them.")
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("tune")(tune)


def tune(
    sources: Annotated[
        list[Path], typer.Argument(help="The video to encode; or several, folders, globs (one line each).")
    ],
    encoder: Annotated[str, typer.Option("--encoder", "-e", help="ffmpeg's encoder name.")] = "libx264",
    target_vmaf: Annotated[float, typer.Option("--target-vmaf", help="Mean VMAF to reach, points.")] = 93.0,
    quality_confidence: Annotated[
        float, typer.Option("--quality-confidence", help="Probability of reaching it.")
    ] = 0.95,
    preset: Annotated[str | None, typer.Option(help="The encoder's preset (default: the trained one).")] = None,
    trials: Trials = 1,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Encode the choice to this .mkv, .mp4, .mov or .webm.")
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out-dir", help="Encode each source into this folder; skips finished ones.")
    ] = None,
    container: Annotated[str, typer.Option(help="Container in --out-dir: mkv, mp4, mov or webm.")] = "mkv",
    verify: Annotated[bool, typer.Option("--verify", help="Measure the whole output.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the output.")] = False,
    encoder_args: EncoderArgs = "",
    vf: Annotated[str, typer.Option("--vf", help="ffmpeg filters first, as crop=..., scale=..., fps=...")] = "",
    reference: Reference = "filtered",
    max_bitrate: Annotated[float | None, typer.Option(help="Most video bitrate wanted, kbps.")] = None,
    max_size: Annotated[float | None, typer.Option(help="Largest file wanted, MB (10^6 bytes).")] = None,
    probe_seconds: ProbeSeconds = "60",
    probes: Probes = None,
    report: Report = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither use nor keep probe and trial results ($ASSAY_CACHE).")
    ] = False,
    registry: Annotated[Path | None, typer.Option(help="Registry folder (default: the shipped one).")] = None,
    trust_policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Whose signatures to believe ($ASSAY_TRUST_POLICY).")
    ] = None,
    ffmpeg: Annotated[str | None, typer.Option(help="The ffmpeg to use.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON on stdout: one document, or of several sources one a line.")
    ] = False,
) -> None:
    """Find the cheapest encode that meets a VMAF target with a stated confidence, and make it.

    Exit 0 promised (and met, if verified); 1 out of reach, not supported, over a limit, or found missed.
    Of several sources the highest code of any.

    Example: assay tune in.mkv -e libsvtav1 --target-vmaf 93 -o out.mkv --verify
    """
    from vmaf_assay.tune.request import TuneRequest

    base = TuneRequest(
        sources[0],
        encoder,
        target_vmaf,
        quality_confidence,
        preset,
        trials,
        output,
        verify,
        force,
        encoder_args,
        vf,
        reference,  # type: ignore[arg-type]  # checked by check_request
        max_bitrate,
        None if max_size is None else max_size * 1e6,
        seconds_of(probe_seconds),
        probes,  # type: ignore[arg-type]  # likewise
    )
    items = _items(sources, base, out_dir, container)
    code = _run(base, items, (registry, trust_policy), ffmpeg, no_cache, as_json, report)
    if code:
        raise typer.Exit(code)


def seconds_of(text: str) -> float:
    """`--probe-seconds` as a number; 0 for `all`.

    >>> seconds_of("all"), seconds_of("90")
    (0.0, 90.0)
    """
    from vmaf_assay.errors import ConfigError

    try:
        return 0.0 if text == "all" else float(text)
    except ValueError as error:
        raise ConfigError(
            f"--probe-seconds is a number of seconds or `all`, not {text!r}", next_step="leave it out for 60"
        ) from error


def _items(sources: list[Path], base: "TuneRequest", out_dir: Path | None, container: str) -> "list[Item] | None":
    """The sources of a batch, everything checked that can be; None for one source by itself."""
    from vmaf_assay.errors import ConfigError
    from vmaf_assay.tune.batch import plan_items
    from vmaf_assay.tune.request import check_request

    several = len(sources) > 1 or sources[0].is_dir() or (_is_glob(sources[0]) and not sources[0].exists())
    if not several and out_dir is None:
        check_request(base)
        return None
    if base.output is not None:
        raise ConfigError("-o names one output, and there are several sources", next_step="use --out-dir")
    if base.verify and out_dir is None:
        raise ConfigError("--verify measures encodes, and none are made", next_step="add --out-dir")
    check_request(replace(base, verify=False))
    return plan_items(sources, out_dir, container)


def _is_glob(path: Path) -> bool:
    return any(char in str(path) for char in "*?[")


def _run(
    base: "TuneRequest",
    items: "list[Item] | None",
    trusted: tuple[Path | None, Path | None],
    ffmpeg: str | None,
    no_cache: bool,
    as_json: bool,
    report: Path | None,
) -> int:
    """Tune one source or all of a batch, print the answers, and return the exit code.

    `trusted` is the registry and the trust policy.
    """
    from vmaf_assay.cli import render
    from vmaf_assay.media.ffmpeg import find_ffmpeg
    from vmaf_assay.registry.store import load_verified, registry_dir
    from vmaf_assay.tune.batch import request_digest, tune_many
    from vmaf_assay.tune.cache import Cache, default_cache_dir
    from vmaf_assay.tune.run import tune as run_tune

    verified = load_verified(registry_dir(trusted[0]), FORECAST, trusted[1])
    found = find_ffmpeg(ffmpeg)
    digests = Cache(default_cache_dir())
    cache = None if no_cache else digests
    with render.progress_bar("frames") as update:

        def tune_one(request: "TuneRequest") -> "TuneResult":
            def on_step(what: str, done: int, total: int) -> None:
                update(done, what if items is None else f"{request.source.name}: {what}", total)

            return run_tune(found, verified, request, cache=cache, on_step=on_step, on_note=render.note)

        if items is not None:
            digest = request_digest(base, verified, found)
            outcomes = tune_many(items, base, tune_one, digest=digest, cache=digests)
            return _many(_reported(outcomes, report, found), len(items), as_json)
        result = tune_one(base)
    if report is not None:
        _page(result.as_json(), report, found)
    if as_json:
        render.emit_json(result.as_json())
    else:
        _render(result)
    return 0 if result.met else 1


def _page(document: "dict[str, Any]", out: Path, ffmpeg: "Ffmpeg") -> None:
    """Write a page and say where it is, on stderr: stdout ends with the answer."""
    from vmaf_assay.cli import render
    from vmaf_assay.report.page import write_page
    from vmaf_assay.report.tune_page import tune_page

    write_page(tune_page(document, ffmpeg), out)
    render.note(f"page: {out}")


def _reported(outcomes: "Iterator[Outcome]", folder: Path | None, ffmpeg: "Ffmpeg") -> "Iterator[Outcome]":
    """The outcomes, each with a page in the folder as it goes by."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    for number, outcome in enumerate(outcomes, start=1):
        if folder is not None and "curve" in outcome.document:
            _page(outcome.document, folder / f"{number:03d}-{outcome.item.source.stem}.html", ffmpeg)
        yield outcome


def _many(outcomes: "Iterator[Outcome]", total: int, as_json: bool) -> int:
    """Print each outcome as it comes, then a summary; the highest exit code of any."""
    from vmaf_assay.cli import main, render
    from vmaf_assay.errors import AssayError

    counts = {"done": 0, "skipped": 0, "failed": 0, "met": 0, "encodes_spent": 0}
    code = 0
    for number, outcome in enumerate(outcomes, start=1):
        own = 0 if outcome.met else 1
        if outcome.problem is not None:
            own = main.exit_code(outcome.problem) if isinstance(outcome.problem, AssayError) else 3
        code = max(code, own)
        counts[outcome.status] += 1
        counts["met"] += outcome.met
        counts["encodes_spent"] += outcome.result.encodes_spent if outcome.result else 0
        if as_json:
            render.emit_line(outcome.document | {"status": outcome.status, "exit_code": own})
        else:
            render.say(f"[{number}/{total}] {outcome.item.source.name}: {_line(outcome)}")
    if as_json:
        render.emit_line({"summary": counts | {"sources": total, "exit_code": code}})
    else:
        render.say(
            f"{total} sources: {counts['met']} met, {total - counts['met'] - counts['failed']} not met, "
            f"{counts['failed']} failed; {counts['skipped']} were finished before; "
            f"{counts['encodes_spent']} encodes spent"
        )
    return code


def _line(outcome: "Outcome") -> str:
    if outcome.problem is not None:
        return f"error: {outcome.problem}"
    if outcome.result is not None:
        return answer(outcome.result)
    kept = outcome.document
    return f"finished before: {kept['output']}, {kept['encoder']} {kept['preset']} at {kept['rate_value']:g}"


def _render(result: "TuneResult") -> None:
    from vmaf_assay.cli import render

    def rounded(value: float | None, digits: int = 2) -> float | None:
        return None if value is None else round(value, digits)

    render.say_table(
        ["", "rate value", "forecast", "lower bound", "measured", "kbps (forecast)"],
        [
            [
                ">" if point.rate_value == result.rate_value else "",
                point.rate_value,
                rounded(point.mu),
                rounded(point.lower_bound),
                rounded(point.measured_vmaf),
                rounded(point.kbps, 0),
            ]
            for point in _shown(result)
        ],
    )
    for reason in result.reasons:
        render.say(reason)
    render.say(answer(result))


def _shown(result: "TuneResult") -> "list[CurvePoint]":
    """The points near the choice, and every trial."""
    return [
        point
        for point in result.curve
        if point.measured_vmaf is not None or abs(point.rate_value - result.rate_value) <= 4
    ]


def answer(result: "TuneResult") -> str:
    """The one line that answers the question, with what was written and what it cost."""
    spent = f"{result.encodes_spent} encodes spent"
    if result.output is None:
        advice = "; add -o OUT to encode" if result.met else "; nothing encoded"
        return f"{result.answer()}; {spent}{advice}"
    unmeasured = "" if result.measured_vmaf is not None else ", not measured (add --verify)"
    return f"{result.answer()}; {result.output}, {result.kbps:.0f} kbps{unmeasured}, {spent}"
