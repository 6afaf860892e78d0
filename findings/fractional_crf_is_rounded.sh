#!/usr/bin/env bash
# ffmpeg takes a fractional -crf for libsvtav1 and libvpx-vp9 without a warning, and rounds half to even.
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

declare -A got
for crf in 30 30.5 31 31.5 32; do
  got[svt:$crf]=$(packets -c:v libsvtav1 -preset 10 -crf "$crf")
  got[vp9:$crf]=$(packets -c:v libvpx-vp9 -b:v 0 -cpu-used 5 -crf "$crf")
done
got[svt:params]=$(packets -c:v libsvtav1 -preset 10 -svtav1-params crf=30.5)
for key in "${!got[@]}"; do echo "$key ${got[$key]}"; done | sort

# 30.5 is 30 and 31.5 is 32, for both encoders; the encoder's own option takes the fraction.
for encoder in svt vp9; do
  [ "${got[$encoder:30.5]}" = "${got[$encoder:30]}" ]
  [ "${got[$encoder:31.5]}" = "${got[$encoder:32]}" ]
  [ "${got[$encoder:30]}" != "${got[$encoder:31]}" ]
done
[ "${got[svt:params]}" != "${got[svt:30]}" ] && [ "${got[svt:params]}" != "${got[svt:31]}" ]
echo "unchanged: -crf 30.5 is -crf 30, -crf 31.5 is -crf 32; -svtav1-params crf=30.5 is neither"
