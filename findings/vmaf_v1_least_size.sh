#!/usr/bin/env bash
# VMAF v1 scores no picture below a least size, which differs by model; v0.6.1 scores smaller ones.
#
# Only sizes that end well are run here. Below 160x216 (3d0h) and 266x266 (5d0h) libvmaf stops without a score, for
# some sizes with an error, for others by ending the process. A caller has to check the size first.
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

# Whether a model scores a clip of a size against itself.
scores() {
  clip=(-f lavfi -i "testsrc2=size=$2:rate=25")
  "$ffmpeg" -v error "${clip[@]}" "${clip[@]}" -lavfi "libvmaf=model=version=$1" -frames:v 2 -f null - 2>/dev/null
}
for pair in vmaf_v0.6.1:128x128 vmaf_v1.0.16_3d0h:160x216 vmaf_v1.0.16_5d0h:266x266 vmaf_v1.0.16_3d0h_2160:318x318; do
  scores "${pair%%:*}" "${pair##*:}" || { echo "changed: ${pair%%:*} does not score ${pair##*:}"; exit 1; }
  echo "${pair%%:*} scores ${pair##*:}"
done
# One that is refused with an error.
if scores vmaf_v1.0.16_3d0h 128x128; then echo "changed: VMAF v1 scores 128x128"; exit 1; fi
echo "unchanged: VMAF v1 (3d0h) gives no score for 128x128, where v0.6.1 gives one"
