"""How rough VMAF is from one rate value to the next: dense real encodes against a smooth curve through them.

    python bench/roughness.py CLIP... [-e libx264:medium:26-28] [-e libsvtav1:8:35-49:10-bit] [--vmaf MODEL]

Each clip, cut to `--max-frames` frames of at most 640x360, is encoded and scored at every rate value of the range,
by the encoder's own step, with a final encode's threads. With `--vmaf` it is scored by VMAF v0.6.1 and by that
model in one pass, and both are printed. Off a polynomial (a parabola; a cubic where the range
spans over five rate values) VMAF has the standard deviation printed; `neighbours` is that of the change from one
step to the next. The last lines are its root mean square over the clips, those near VMAF 100 left out;
`Metric.roughness` (`records.py`) is that of libx264.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vmaf_assay.corpus.measure import decode
from vmaf_assay.corpus.plan import references_of
from vmaf_assay.corpus.sources import Source, sources_from_paths
from vmaf_assay.errors import MediaError
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import VMAF_MODEL, encode_and_score

NEARLY_PERFECT = 99.0
"""Mean VMAF above which a clip says nothing: there is no room to be rough in."""


def measure(
    ffmpeg: Ffmpeg, reference: ReferenceInput, text: str, models: Sequence[str]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Rate values of one request `ENCODER:PRESET:LOW-HIGH`, and the mean score of each by each model."""
    name, preset, span = text.split(":")[:3]
    encoder = encoder_info(name)
    if text.endswith(":10-bit"):
        encoder = encoder.with_pix_fmt("yuv420p10le")
    low, high = map(float, span.split("-"))
    rates = np.round(np.arange(low, high + encoder.rate_step / 2, encoder.rate_step), 4)
    scored = [encode_and_score(ffmpeg, reference, encoder, preset, float(r), models=models) for r in rates]
    means = {models[0]: np.array([one.vmaf.mean() for one in scored], dtype=np.float64)}
    for model in models[1:]:
        means[model] = np.array([(one.more or {})[model].mean() for one in scored], dtype=np.float64)
    return rates, means


def curves(
    ffmpeg: Ffmpeg, source: Source, args: argparse.Namespace, models: Sequence[str], folder: Path
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Request, model, rate values and scores of each request for a source; nothing for one that cannot be used."""
    for text in args.encoder or ["libx264:medium:26-28", "libsvtav1:8:35-49"]:
        try:
            (rendition, *_) = references_of(ffmpeg, source, sizes=[(640, 360)], max_frames=args.max_frames)
            if text.endswith(":10-bit"):
                rendition = replace(rendition, bit_depth=10)
            reference = decode(ffmpeg, rendition, folder / "reference.y4m")
        except MediaError as error:
            print(error, file=sys.stderr)
            return
        rates, means = measure(ffmpeg, reference, text, models)
        for model, scores in means.items():
            yield text, model, rates, scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("-e", "--encoder", action="append")
    parser.add_argument("--max-frames", type=int, default=72)
    parser.add_argument("--vmaf", action="append", default=[])
    args = parser.parse_args()
    ffmpeg = find_ffmpeg()
    models = [VMAF_MODEL, *args.vmaf]
    print("| encoder | model | clip | mean VMAF | slope a step | standard deviation | neighbours | correlation |")
    print("|---|---|---|---|---|---|---|---|")
    steps: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for source in sources_from_paths(args.clips):
            for text, model, rates, vmaf in curves(ffmpeg, source, args, models, Path(name)):
                degree = 3 if np.ptp(rates) > 5 else 2
                smooth = np.polynomial.Polynomial.fit(rates, vmaf, degree)
                off = vmaf - smooth(rates)
                step = float(np.diff(off).std())
                spread = float(off.std(ddof=degree + 1))
                lag = float(np.corrcoef(off[1:], off[:-1])[0, 1])
                slope = float(np.polyfit(rates, vmaf, 1)[0]) * float(rates[1] - rates[0])
                figures = f"{vmaf.mean():.1f} | {slope:.2f} | {spread:.3f} | {step:.3f} | {lag:.2f}"
                print(f"| {text} | {model} | {source.name} | {figures} |", flush=True)
                if vmaf.mean() < NEARLY_PERFECT:
                    steps.setdefault(f"{text} {model}", []).append(step)
    for text, found in steps.items():
        print(f"{text}: root mean square between neighbours {np.sqrt(np.mean(np.square(found))):.3f} points")


if __name__ == "__main__":
    main()
