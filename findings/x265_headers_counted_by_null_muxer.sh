#!/usr/bin/env bash
# Packet sizes that ffmpeg reports for libx265 with -f null hold headers that a Matroska file stores once.
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

# Sum of the packet sizes that the encoder reports, in bytes.
reported() {
  (cd "$work" && "$ffmpeg" -v error -y "${clip[@]}" -frames:v 30 -c:v libx265 -x265-params log-level=error -crf 30 \
    -stats_enc_post sizes.txt -stats_enc_post_fmt "{size}" "$@")
  awk '{sum += $1} END {print sum}' "$work/sizes.txt"
}
to_null=$(reported -f null -)
to_file=$(reported "$work/out.mkv")
echo "packets of 30 frames: $to_null bytes with -f null, $to_file bytes into Matroska"
[ $((to_null - to_file)) -gt 1000 ]
echo "unchanged: -f null counts $((to_null - to_file)) bytes more (parameter sets and x265's info SEI)"
