"""How rough VMAF is from one rate value to the next: dense real encodes against a smooth curve through them.

    python bench/roughness.py CLIP... [-e libx264:medium:26-28] [-e libsvtav1:8:35-49]

Each clip, cut to `--max-frames` frames of at most 640x360, is encoded and scored at every rate value of the range,
by the encoder's own step, with a final encode's threads. Off a polynomial (a parabola; a cubic where the range
spans over five rate values) VMAF has the standard deviation printed; `neighbours` is that of the change from one
step to the next. The last lines are its root mean square over the clips, those near VMAF 100 left out;
`Metric.roughness` (`records.py`) is that of libx264.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from vmaf_assay.corpus.measure import decode
from vmaf_assay.corpus.plan import references_of
from vmaf_assay.corpus.sources import sources_from_paths
from vmaf_assay.errors import MediaError
from vmaf_assay.media.encoders import encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score

NEARLY_PERFECT = 99.0
"""Mean VMAF above which a clip says nothing: there is no room to be rough in."""


def measure(ffmpeg: Ffmpeg, reference: ReferenceInput, text: str) -> tuple[np.ndarray, np.ndarray]:
    """Rate values and pooled VMAF of one request `ENCODER:PRESET:LOW-HIGH`."""
    name, preset, span = text.split(":")
    encoder = encoder_info(name)
    low, high = map(float, span.split("-"))
    rates = np.round(np.arange(low, high + encoder.rate_step / 2, encoder.rate_step), 4)
    scored = [encode_and_score(ffmpeg, reference, encoder, preset, float(r)) for r in rates]
    return rates, np.array([one.vmaf.mean() for one in scored], dtype=np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("-e", "--encoder", action="append")
    parser.add_argument("--max-frames", type=int, default=72)
    args = parser.parse_args()
    ffmpeg = find_ffmpeg()
    print("| encoder | clip | mean VMAF | slope a step | standard deviation | neighbours | correlation |")
    print("|---|---|---|---|---|---|---|")
    steps: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for source in sources_from_paths(args.clips):
            try:
                (rendition, *_) = references_of(ffmpeg, source, sizes=[(640, 360)], max_frames=args.max_frames)
                reference = decode(ffmpeg, rendition, Path(name) / f"{source.name}.y4m")
            except MediaError as error:
                print(error, file=sys.stderr)
                continue
            for text in args.encoder or ["libx264:medium:26-28", "libsvtav1:8:35-49"]:
                rates, vmaf = measure(ffmpeg, reference, text)
                degree = 3 if np.ptp(rates) > 5 else 2
                smooth = np.polynomial.Polynomial.fit(rates, vmaf, degree)
                off = vmaf - smooth(rates)
                step = float(np.diff(off).std())
                spread = float(off.std(ddof=degree + 1))
                lag = float(np.corrcoef(off[1:], off[:-1])[0, 1])
                slope = float(np.polyfit(rates, vmaf, 1)[0]) * float(rates[1] - rates[0])
                figures = f"{vmaf.mean():.1f} | {slope:.2f} | {spread:.3f} | {step:.3f} | {lag:.2f}"
                print(f"| {text} | {source.name} | {figures} |", flush=True)
                if vmaf.mean() < NEARLY_PERFECT:
                    steps.setdefault(text, []).append(step)
    for text, found in steps.items():
        print(f"{text}: root mean square between neighbours {np.sqrt(np.mean(np.square(found))):.3f} points")


if __name__ == "__main__":
    main()
