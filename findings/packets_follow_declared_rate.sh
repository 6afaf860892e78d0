#!/usr/bin/env bash
# libx264, libx265 and libvvenc give other packets at the same rate value when only the declared rate changes.
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

# The same 30 pictures, declared as 20 or as 60 a second; nothing else changes.
differs=0
for encoder in "libx264" "libx265 -x265-params log-level=error" "libvvenc -qpa 0" "libsvtav1 -preset 10" "libvpx-vp9 -b:v 0"; do
  quality="-crf 30"
  [ "${encoder%% *}" = libvvenc ] && quality="-qp 32"
  unset first
  for rate in 20 60; do
    digest=$(packets -vf "settb=1/$rate,setpts=N,fps=$rate" -fps_mode passthrough -c:v $encoder $quality)
    echo "${encoder%% *} at $rate frames a second: $digest, $(stat -c %s "$work/out.mkv") bytes"
    if [ -z "${first:-}" ]; then first=$digest; elif [ "$digest" != "$first" ]; then differs=$((differs + 1)); fi
  done
done
[ "$differs" = 3 ]
echo "unchanged: libx264, libx265 and libvvenc follow the declared frame rate; libsvtav1 and libvpx-vp9 do not"
