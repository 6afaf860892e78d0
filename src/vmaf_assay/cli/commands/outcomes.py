"""`assay outcomes check | list | show | export | forget | merge`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmaf_assay.cli.options import Json, end

if TYPE_CHECKING:
    from vmaf_assay.outcomes.record import Outcome
    from vmaf_assay.outcomes.store import OutcomeStore

Folder = Annotated[
    Path | None,
    typer.Option("--outcomes", metavar="FOLDER", help="Folder of outcomes (default: $ASSAY_OUTCOMES)."),
]


def register(app: typer.Typer) -> None:
    """Add the `outcomes` group."""
    group = typer.Typer(no_args_is_help=True, help="Measured results, kept on this machine (docs/outcomes.md).")
    group.command("check")(check)
    group.command("list")(list_outcomes)
    group.command("show")(show)
    group.command("export")(export)
    group.command("forget")(forget)
    group.command("merge")(merge)
    app.add_typer(group, name="outcomes")


def opened(folder: Path | None) -> "OutcomeStore":
    """The store to use."""
    from vmaf_assay.media.user_folders import outcomes_dir
    from vmaf_assay.outcomes.store import OutcomeStore

    return OutcomeStore(folder or outcomes_dir())


def check(outcomes: Folder = None, as_json: Json = False) -> None:
    """Say whether promises are kept, by a test that is valid however often you look. Exit 1: they are broken.

    Example: assay outcomes check
    """
    from vmaf_assay.cli import render
    from vmaf_assay.outcomes.watch import NOTHING_YET, watch

    with opened(outcomes) as store:
        path, watched = store.path, [watch(store, one) for one in store.calibrations()]
    if as_json:
        render.emit_json({"store": str(path), "calibrations": [one.as_json() for one in watched]})
    else:
        for one in watched:
            rows = [
                [stream.family, stream.name, stream.n, stream.kept, f"{stream.promised:.3f}", stream.e_value]
                for stream in one.streams
            ]
            render.say(f"calibration {one.calibration[:12]}")
            render.say_table(["promises", "of", "titles", "kept", "promised", "e-value"], rows)
            render.say(one.sentence())
        if not watched:
            render.say(NOTHING_YET)
    end(1 if any(one.broken for one in watched) else 0)


def list_outcomes(
    outcomes: Folder = None,
    last: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 20,
    as_json: Json = False,
) -> None:
    """List the newest outcomes.

    Example: assay outcomes list
    """
    from vmaf_assay.cli import render

    with opened(outcomes) as store:
        path, total, found = store.path, len(store), store.newest(last)
    if as_json:
        render.emit_json({"store": str(path), "outcomes": total, "newest": [one.as_json() for one in found]})
        return
    render.say_table(
        ["id", "day", "source", "what", "encode", "target", "forecast", "measured", "promised", "kept"],
        [_line(one) for one in found],
    )
    render.say(f"{path}: {total} outcomes, {len(found)} shown; `assay outcomes show ID` says all of one")


def _line(one: "Outcome") -> list[object]:
    of = one.delivered
    encode = f"{of.encoder} {of.preset} {of.rate_value:g}"
    scores = [of.target, round(of.forecast, 2), round(of.measured, 2)]
    return [one.id[:12], one.day, one.source[:8], of.kind, encode, *scores, of.promised, of.kept]


def show(
    what: Annotated[
        str, typer.Argument(metavar="ID|FILE", help="An outcome's id or its beginning, or a source file.")
    ],
    outcomes: Folder = None,
    as_json: Json = False,
) -> None:
    """Show everything that is kept of an outcome, or every outcome of a source file.

    Example: assay outcomes show in.mkv
    """
    import json

    from vmaf_assay.cli import render
    from vmaf_assay.errors import ConfigError

    with opened(outcomes) as store:
        source = _source_of(store, what)
        found = store.of_source(source) if source else store.of_id(what)
    if not found:
        raise ConfigError(f"no outcome of {what}", next_step="see `assay outcomes list`")
    if as_json:
        render.emit_json([one.as_json() for one in found])
        return
    for one in found:
        for name, value in one.as_json().items():
            text = json.dumps(value) if isinstance(value, dict | list) else value
            render.say(f"{name:<12} {text}")
        render.say()
    promised = [one for one in found if one.delivered.promised]
    kept = sum(one.delivered.kept for one in promised)
    render.say(f"{len(found)} outcomes, {len(promised)} of them promised, {kept} kept")


def export(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="JSON lines, one an outcome.")],
    outcomes: Folder = None,
    as_json: Json = False,
) -> None:
    """Write every outcome as a line of JSON; without the key that ties digests to files and machines.

    Example: assay outcomes export -o outcomes.jsonl
    """
    from vmaf_assay.cli import render
    from vmaf_assay.media.files import canonical_json, write_bytes_atomic

    with opened(outcomes) as store:
        lines = [canonical_json(one.as_json()) + b"\n" for one in store.outcomes()]
    write_bytes_atomic(out, b"".join(lines))
    if as_json:
        render.emit_json({"out": str(out), "outcomes": len(lines)})
    else:
        render.say(f"{out}: {len(lines)} outcomes")


def forget(
    source: Annotated[
        str | None, typer.Option(metavar="FILE|DIGEST", help="Erase what is kept of this source.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="DAY", help="Erase what was measured before, as 2026-12-01.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Erase all outcomes.")] = False,
    outcomes: Folder = None,
    as_json: Json = False,
) -> None:
    """Erase outcomes for good.

    Example: assay outcomes forget --source in.mkv
    """
    from vmaf_assay.cli import render
    from vmaf_assay.errors import ConfigError

    if (source is not None) + (before is not None) + everything != 1:
        raise ConfigError("say what to erase", next_step="name one of --source, --before and --all")
    with opened(outcomes) as store:
        path, digest, day = store.path, "", ""
        if source is not None:
            digest = _source_of(store, source) or _digits(source)
        if before is not None:
            day = _day(before)
        gone = store.forget(source=digest, before=day, everything=everything)
        left = len(store)
    if as_json:
        render.emit_json({"store": str(path), "erased": gone, "left": left})
    else:
        render.say(f"{path}: {gone} outcomes erased, {left} left")


def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders of outcomes, as of a farm's machines.")],
    outcomes: Folder = None,
    as_json: Json = False,
) -> None:
    """Take over every outcome of other folders that is not here; merging again changes nothing.

    Example: assay outcomes merge node1/outcomes node2/outcomes
    """
    from vmaf_assay.cli import render

    with opened(outcomes) as store:
        merged = [(folder, *store.merge(folder)) for folder in folders]
        path, total = store.path, len(store)
    if as_json:
        found = [{"folder": str(folder), "outcomes": n, "new": new} for folder, n, new in merged]
        render.emit_json({"store": str(path), "merged": found, "outcomes": total})
        return
    for folder, n, new in merged:
        render.say(f"{folder}: {n} outcomes, {new} new")
    render.say(f"{path}: {total} outcomes")


def _source_of(store: "OutcomeStore", text: str) -> str:
    """The keyed digest of a source file; '' if the text names no file."""
    from vmaf_assay.media.files import sha256_file
    from vmaf_assay.outcomes.recorder import keyed

    path = Path(text)
    return keyed(store.salt, sha256_file(path), 32) if path.is_file() else ""


def _digits(text: str) -> str:
    import re

    from vmaf_assay.errors import ConfigError

    if not re.fullmatch(r"[0-9a-f]{8,32}", text):
        raise ConfigError(
            f"{text} is neither a file nor a digest of a source", next_step="see `assay outcomes list`"
        )
    return text


def _day(text: str) -> str:
    from datetime import date

    from vmaf_assay.errors import ConfigError

    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise ConfigError(f"{text} is no day", next_step="write it as 2026-12-01") from error
