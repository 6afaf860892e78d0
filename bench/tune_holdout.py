"""`tune` on sources its calibration never saw: refit without their groups, promote, tune, measure.

    python bench/tune_holdout.py CORPUS MANIFEST SOURCE [SOURCE...] [--encoder libx264] [--target-vmaf 93]

For the sources named (as in the manifest), a corpus without their groups is made, `vmaf_forecast_ensemble_v1` is
trained and promoted on it into a scratch registry, and each source is tuned, encoded and measured through the
same commands a user types. Needs the clips; prints one markdown row a source, encoder and trial count.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

MODEL = "vmaf_forecast_ensemble_v1"


def corpus_without(corpus_dir: Path, groups: set[str], out: Path) -> None:
    from vmaf_assay.corpus.store import Corpus, index_versions, load_corpus, pack

    corpus = load_corpus(corpus_dir)
    cells = tuple(cell for cell in corpus.cells if cell.group not in groups)
    keys = [cell.key for cell in cells]
    import polars as pl

    frames = corpus.frames.filter(pl.col("cell").is_in(keys))
    pack(Corpus("", cells, frames), out, index_versions(corpus_dir))


def assay(*args: object) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "vmaf_assay", *map(str, args)], stdout=subprocess.PIPE, text=True, check=False
    )
    return done.returncode, done.stdout


def cut(entry: dict[str, object], manifest: Path, out: Path, max_frames: int) -> Path:
    """The manifest's part of a file, stored without loss, as a title of its own."""
    from vmaf_assay.corpus.measure import decode
    from vmaf_assay.corpus.plan import references_of
    from vmaf_assay.corpus.sources import sources_from_manifest
    from vmaf_assay.media.ffmpeg import find_ffmpeg

    ffmpeg = find_ffmpeg()
    source = next(s for s in sources_from_manifest(manifest) if s.name == entry["source"])
    (rendition, *_) = references_of(ffmpeg, source, sizes=[(1280, 720)], max_frames=max_frames)
    return decode(ffmpeg, rendition, out / f"{source.name}.y4m").path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--encoder", action="append")
    parser.add_argument("--target-vmaf", type=float, default=93)
    parser.add_argument("--quality-confidence", type=float, default=0.9)
    parser.add_argument("--max-frames", type=int, default=72)
    args = parser.parse_args()
    entries = {e["source"]: e for e in json.loads(args.manifest.read_text())["sources"]}
    chosen = [entries[name] for name in args.sources]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus_without(args.corpus, {e["group"] for e in chosen}, folder / "corpus")
        for step in (
            ("train", folder / "corpus", "--model", MODEL, "-o", folder / "run"),
            ("validate", folder / "run"),
            ("promote", folder / "run", "--registry", folder / "registry"),
        ):
            code, _ = assay(*step)
            if code:
                sys.exit(f"assay {step[0]} exited {code}")
        print("| source | encoder | trials | rate value | forecast | lower bound | measured VMAF | kbps | met |")
        print("|---|---|---|---|---|---|---|---|---|")
        for entry in chosen:
            clip = cut(entry, args.manifest, folder, args.max_frames)
            for encoder in args.encoder or ["libx264", "libsvtav1"]:
                for trials in (0, 1, 2):
                    _row(args, entry["source"], clip, encoder, trials, folder)


def _row(args, source, clip, encoder, trials, folder):
    code, out = assay(
        "tune",
        clip,
        "-e",
        encoder,
        "--target-vmaf",
        args.target_vmaf,
        "--quality-confidence",
        args.quality_confidence,
        "--trials",
        trials,
        "-o",
        folder / "out.mkv",
        "--force",
        "--verify",
        "--json",
        "--registry",
        folder / "registry",
    )
    if code not in (0, 1) or not out.strip():
        print(f"| {source} | {encoder} | {trials} | exit {code} | | | | | |")
        return
    r = json.loads(out)

    def show(key):
        return f"{r[key]:.2f}" if isinstance(r.get(key), int | float) else "-"

    met = "-" if r.get("measured_vmaf") is None else "yes" if r["measured_vmaf"] >= args.target_vmaf else "no"
    print(
        f"| {source} | {encoder} | {trials} | {show('rate_value')} | {show('mu')} | {show('lower_bound')} | "
        f"{show('measured_vmaf')} | {show('kbps')} | {met} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
