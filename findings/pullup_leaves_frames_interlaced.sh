#!/usr/bin/env bash
# ffmpeg's pullup makes whole frames of telecined fields and leaves them marked as interlaced; fieldmatch clears the mark.
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
"$ffmpeg" -v error -f lavfi -i testsrc2=size=320x180:rate=24000/1001 -vf telecine=pattern=23,format=yuv420p \
  -frames:v 75 -c:v libx264 -flags +ilme+ildct -x264-params tff=1 "$work/tele.mkv"

# Frames behind a chain of filters that are still marked as interlaced.
marked() {
  "$ffmpeg" -v error -i "$work/tele.mkv" -vf "$1,select=not(eq(interlace_type\,PROGRESSIVE))" \
    -fps_mode passthrough -f framecrc - | grep -vc "^#" || true
}

pullup=$(marked pullup) fieldmatch=$(marked fieldmatch)
echo "marked as interlaced: pullup $pullup, fieldmatch $fieldmatch"
[ "$pullup" -gt 0 ] && [ "$fieldmatch" -eq 0 ]
