#!/usr/bin/env bash
# A 10-bit encode converted to 8 bits before libvmaf loses a point or more on a gradient, by both generations of VMAF.
#
# swscale dithers on the way to 8 bits, and VMAF measures the dither. Tools that append format=yuv420p to both sides
# of a comparison do that. At 10 bits both sides keep what they are.
#
# Seen: ffmpeg 9.0.2 inside imageio-ffmpeg 0.8.1 (PyPI), linux-x86_64, 2026-12-01.
# Exits 0 while the behaviour stands, 1 when it changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check imageio-ffmpeg==0.8.1
ffmpeg=$(ls "$work"/venv/lib/python*/site-packages/imageio_ffmpeg/binaries/ffmpeg-*)
"$ffmpeg" -version | head -1
graph="gradients=size=480x270:rate=25:c0=0x101018:c1=0x303848:nb_colors=2:seed=3:speed=0.02"
"$ffmpeg" -v error -f lavfi -i "$graph" -vf "format=gbrp16le,gblur=2,scale=480:270,format=yuv420p10le" \
  -frames:v 6 -c:v ffv1 "$work/source.mkv"
"$ffmpeg" -v error -i "$work/source.mkv" -c:v libx265 -preset ultrafast -crf 12 -x265-params log-level=none "$work/encode.mkv"

# Mean score of the encode by a model, both sides in a pixel format.
score() {
  side="settb=1/25,setpts=N,format=$2"
  (cd "$work" && "$ffmpeg" -v error -i encode.mkv -i source.mkv -lavfi \
    "[0:v]$side[d];[1:v]$side[r];[d][r]libvmaf=model=version=$1:log_fmt=json:log_path=log.json" -f null -)
  python3 -c "import json, sys; print(json.load(open(sys.argv[1]))['pooled_metrics']['vmaf']['mean'])" "$work/log.json"
}
for model in vmaf_v0.6.1 vmaf_v1.0.16_3d0h; do
  deep=$(score "$model" yuv420p10le) rounded=$(score "$model" yuv420p)
  echo "$model: $deep compared at 10 bits, $rounded at 8"
  python3 -c "import sys; sys.exit(0 if $deep - $rounded > 0.7 else 1)" || { echo "changed"; exit 1; }
done
echo "unchanged: rounding to 8 bits costs 0.7 points or more"
