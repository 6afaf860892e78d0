#!/usr/bin/env bash
# libvvenc in Matroska or MP4: ffmpeg reads half of the frames back, unless asked not to adapt the rate.
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

"$ffmpeg" -v error -y "${clip[@]}" -frames:v 40 -c:v libvvenc -preset faster -qp 40 -pix_fmt yuv420p10le "$work/out.mkv"
"$ffmpeg" -v error -y -i "$work/out.mkv" -c copy "$work/copy.mp4" || true

count() { "$ffmpeg" -v error -i "$1" "${@:2}" -f framecrc - | grep -vc "^#"; }
usual=$(count "$work/out.mkv")
all=$(count "$work/out.mkv" -fps_mode passthrough)
echo "frames of 40: $usual by default, $all with -fps_mode passthrough"
echo "times of the first packets, as read back (decode time, time shown):"
"$ffmpeg" -v error -copyts -i "$work/out.mkv" -c copy -f framecrc - | grep -v "^#" | awk -F, '{print $2+0, $3+0}' | head -5

[ "$all" = 40 ] && [ "$usual" -lt 40 ]
echo "unchanged: packets of VVC come back with made-up times, and frames are dropped by them"
