"""How often `tune` meets its target in real encodes: every clip tuned, encoded, and measured whole.

    python bench/tune_hits.py CLIP... [-e libx264 -e libsvtav1] [--targets 88 91 94] [--trials 1]

Through the command line with the shipped registry, so clips of its corpus are no test of the forecast, only of
what a replay on smooth curves cannot show: how rough VMAF is from one rate value to the next. Clips are cut to
`--max-frames` frames of at most 640x360.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from vmaf_assay.corpus.measure import decode
from vmaf_assay.corpus.plan import references_of
from vmaf_assay.corpus.sources import sources_from_paths
from vmaf_assay.errors import MediaError
from vmaf_assay.media.ffmpeg import find_ffmpeg


def tune(clip: Path, encoder: str, target: float, args: argparse.Namespace, output: Path) -> dict[str, object]:
    """The result of one `assay tune`; empty, with the reason on stderr, if there is none."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "vmaf_assay",
            "tune",
            str(clip),
            "-e",
            encoder,
            "--target-vmaf",
            str(target),
            "--quality-confidence",
            str(args.confidence),
            "--trials",
            str(args.trials),
            "-o",
            str(output),
            "--verify",
            "--force",
            "--json",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1) or not done.stdout.strip():
        print(f"{clip.name}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return {}
    result: dict[str, object] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("-e", "--encoder", action="append")
    parser.add_argument("--targets", type=float, nargs="+", default=[88, 91, 94])
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--trials", type=int, default=1)
    parser.add_argument("--max-frames", type=int, default=72)
    args = parser.parse_args()
    ffmpeg = find_ffmpeg()
    with tempfile.TemporaryDirectory() as name:
        folder, clips = Path(name), []
        for source in sources_from_paths(args.clips):
            try:
                (rendition, *_) = references_of(ffmpeg, source, sizes=[(640, 360)], max_frames=args.max_frames)
                clips.append(decode(ffmpeg, rendition, folder / f"{source.name}.y4m").path)
            except MediaError as error:
                print(error, file=sys.stderr)
        for encoder in args.encoder or ["libx264", "libsvtav1"]:
            met, repeated, unanswered, missed_by = [], 0, 0, []
            for clip in clips:
                for target in args.targets:
                    result = tune(clip, encoder, target, args, folder / "out.mkv")
                    if not result or not result["promised"] or result["measured_vmaf"] is None:
                        unanswered += 1
                        continue
                    met.append(result["measured_vmaf"] >= target)
                    repeated += result["rate_value"] in [trial["rate_value"] for trial in result["trials"]]
                    if not met[-1]:
                        missed_by.append(f"{clip.stem} {target:g}: {target - result['measured_vmaf']:.2f}")
            print(
                f"{encoder}: {sum(met)} of {len(met)} met, {repeated} encodes at the trial itself; "
                f"missed by {', '.join(missed_by) or 'none'}; {unanswered} without a promise",
                flush=True,
            )


if __name__ == "__main__":
    main()
