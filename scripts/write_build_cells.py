"""Write `src/vmaf_assay/outcomes/build_cells.json`: the fixed set, measured with the build of `MEASURED_WITH`."""

import json
import sys
import tempfile
from pathlib import Path

from vmaf_assay.media.capability import tool_versions
from vmaf_assay.media.ffmpeg import find_ffmpeg
from vmaf_assay.media.files import sha256_file, write_bytes_atomic
from vmaf_assay.outcomes.builds import CELLS, CLIPS, BuildCell, make_clip, measure
from vmaf_assay.promise.tools import MEASURED_WITH

SETTINGS = {
    ("libx264", "medium"): (24.0, 32.0),
    ("libx265", "medium"): (26.0, 34.0),
    ("libsvtav1", "8"): (32.0, 46.0),
    ("libvpx-vp9", "4"): (32.0, 46.0),
    ("libaom-av1", "6"): (32.0, 46.0),
    ("libvvenc", "faster"): (28.0, 36.0),
}
"""Encoders and presets of the shipped forecast, each at two rate values of its range."""

if __name__ == "__main__":
    ffmpeg = find_ffmpeg()
    found = tool_versions(ffmpeg, sorted(set(MEASURED_WITH) - {"ffmpeg", "libvmaf"}))
    if found != MEASURED_WITH:
        sys.exit(f"this ffmpeg is not the calibrated build: {found}")
    lines, digests = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for clip in CLIPS:
            reference = make_clip(ffmpeg, Path(folder), clip)
            digests[clip] = sha256_file(reference.path)
            for (encoder, preset), rates in SETTINGS.items():
                for rate in rates:
                    vmaf, kbps = measure(ffmpeg, reference, BuildCell(clip, encoder, preset, rate, 0, 0))
                    facts = {"clip": clip, "encoder": encoder, "preset": preset, "rate_value": rate}
                    lines.append(json.dumps(facts | {"vmaf": round(vmaf, 4), "kbps": round(kbps, 3)}))
    head = f'{{"clips": {json.dumps(digests)},\n "cells": [\n '
    write_bytes_atomic(CELLS, (head + ",\n ".join(lines) + "\n]}\n").encode())
