#!/usr/bin/env bash
# ffmpeg's -vstats_file is one file for all outputs, and their threads mix their lines in it.
#
# A line is written in several steps, so with two video outputs one line may begin inside another. Who wants
# the quantisers of one encode has to read values in order, not lines.
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
cd "$work"
broken=0
for run in $(seq 1 40); do
  "$ffmpeg" -v error -y -f lavfi -i testsrc2=size=64x64:rate=25 -frames:v 2000 -c:v mpeg4 -f null - \
    -frames:v 2000 -c:v rawvideo -f null - -frames:v 2000 -c:v mjpeg -f null - -vstats_file v.log -vstats_version 2
  odd=$(grep -vcE "^out= +[0-9]+ st= +[0-9]+ frame= .*type= .$" v.log || true)
  broken=$((broken + odd))
  [ "$broken" = 0 ] || break
done
echo "$broken broken lines after $run runs of 6,000 lines"
[ "$broken" -gt 0 ]
echo "unchanged: lines of several outputs are mixed"
