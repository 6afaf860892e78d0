#!/usr/bin/env bash
# ffmpeg does not decode H.264 whose 3D layout is in the stream and in Matroska's header: "File exists".
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
clip=(-f lavfi -i "testsrc2=size=192x112:rate=25,format=yuv420p")

"$ffmpeg" -v error -y "${clip[@]}" -frames:v 8 -c:v libx264 -x264-params frame-packing=3 "$work/stream.mkv"
"$ffmpeg" -v error -y "${clip[@]}" -frames:v 8 -c:v libx264 -metadata:s:v stereo_mode=left_right "$work/header.mkv"
# Encoding either again writes both, with no option of ours.
"$ffmpeg" -v error -y -i "$work/stream.mkv" -c:v libx264 "$work/both.mkv"

for name in stream header both; do
  frames=$("$ffmpeg" -v error -i "$work/$name.mkv" -f framecrc - 2>"$work/$name.log" | grep -vc "^#" || true)
  echo "$name: $frames of 8 frames; $(grep -o "File exists" "$work/$name.log" | head -1)"
done | tee "$work/said"
grep -q "^stream: 8 of 8" "$work/said" && grep -q "^header: 8 of 8" "$work/said"
grep -q "^both: 0 of 8 frames; File exists" "$work/said"
echo "unchanged: ffmpeg's own encode of 3D H.264 into Matroska is a file that it does not decode"
