#!/usr/bin/env bash
# Several presets of libaom-av1, libvpx-vp9 and libsvtav1 give the same bytes.
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

# Digests of one encoder at several speeds, one a line.
speeds() {
  local option=$1
  shift
  for value in $1; do echo "$value $(packets "${@:2}" "$option" "$value")"; done
}
aom=$(speeds -cpu-used "5 6 7 8" -c:v libaom-av1 -crf 40 -threads 1 -row-mt 0)
vp9=$(speeds -cpu-used "4 5 6 7 8" -c:v libvpx-vp9 -b:v 0 -crf 40 -deadline good)
svt=$(speeds -preset "10 11 12 13" -c:v libsvtav1 -crf 40)
printf 'libaom-av1 -cpu-used\n%s\nlibvpx-vp9 -cpu-used (good)\n%s\nlibsvtav1 -preset\n%s\n' "$aom" "$vp9" "$svt"

# The last three are equal, the one before them is not; of libvpx-vp9 the last four.
distinct() { echo "$1" | tail -n "$2" | awk '{print $2}' | sort -u | wc -l; }
[ "$(distinct "$aom" 3)" = 1 ] && [ "$(distinct "$aom" 4)" = 2 ]
[ "$(distinct "$vp9" 4)" = 1 ] && [ "$(distinct "$vp9" 5)" = 2 ]
[ "$(distinct "$svt" 3)" = 1 ] && [ "$(distinct "$svt" 4)" = 2 ]
echo "unchanged: libaom-av1 6 = 7 = 8, libvpx-vp9 5 = 6 = 7 = 8, libsvtav1 11 = 12 = 13"
