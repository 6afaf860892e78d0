#!/usr/bin/env bash
# libaom-av1 turns on row threading with more than one thread, and that changes the bytes at the same CRF.
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
export SVT_LOG=0
clip=(-f lavfi -i "mandelbrot=size=320x180:rate=25,noise=alls=8:allf=t,format=yuv420p")

# Digest of the packets that an encode of 30 frames gives.
packets() {
  "$ffmpeg" -v error -y "${clip[@]}" -frames:v 30 "$@" "$work/out.mkv"
  "$ffmpeg" -v error -i "$work/out.mkv" -map 0:v -c copy -f framemd5 - | grep -v "^#" | awk -F, "{print \$5, \$6}" | md5sum | cut -c1-12
}

one=$(packets -c:v libaom-av1 -cpu-used 6 -crf 40 -threads 1)
two=$(packets -c:v libaom-av1 -cpu-used 6 -crf 40 -threads 2)
four=$(packets -c:v libaom-av1 -cpu-used 6 -crf 40 -threads 4)
two_without=$(packets -c:v libaom-av1 -cpu-used 6 -crf 40 -threads 2 -row-mt 0)
one_with=$(packets -c:v libaom-av1 -cpu-used 6 -crf 40 -threads 1 -row-mt 1)
printf -- '-threads 1: %s\n-threads 2: %s\n-threads 4: %s\n-threads 2 -row-mt 0: %s\n-threads 1 -row-mt 1: %s\n' \
  "$one" "$two" "$four" "$two_without" "$one_with"
[ "$one" != "$two" ] && [ "$two" = "$four" ] && [ "$two_without" = "$one" ]
echo "unchanged: the default with two threads or more is not the encode with one; -row-mt 0 makes them equal"
