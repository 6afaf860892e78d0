#!/usr/bin/env bash
# The setts bitstream filter's ts= sets both times from the decode time; pts= and dts= keep pictures in order.
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

times() {
  "$ffmpeg" -v error "${clip[@]}" -frames:v 8 -c:v libx264 -bf 2 -b_strategy 0 "$@" -f framecrc - |
    grep -v "^#" | awk -F, '{print $2+0, $3+0}'
}
echo "as encoded (decode time, time shown):"; times | tee "$work/plain"
echo "setts=ts=TS:"; times -bsf:v setts=ts=TS | tee "$work/ts"
times -bsf:v setts=pts=PTS:dts=DTS > "$work/each"

cmp "$work/plain" "$work/each"
awk '$1 != $2 {exit 1}' "$work/ts"
if awk '$1 != $2 {exit 1}' "$work/plain"; then exit 1; fi
echo "unchanged: with ts=TS, which the documentation calls the identity, every picture is shown when it is decoded"
