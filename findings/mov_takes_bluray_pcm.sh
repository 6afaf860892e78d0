#!/usr/bin/env bash
# ffmpeg's MOV muxer takes Blu-ray PCM with exit status 0 and gives it a tag that no demuxer knows: the sound is lost.
#
# Seen: ffmpeg 9.0.2 inside imageio-ffmpeg 0.8.1 (PyPI), linux-x86_64, 2026-12-01. MP4 and Matroska refuse it.
# Exits 0 while the behaviour stands, 1 when it changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check imageio-ffmpeg==0.8.1
ffmpeg=$(ls "$work"/venv/lib/python*/site-packages/imageio_ffmpeg/binaries/ffmpeg-*)
"$ffmpeg" -version | head -1
cd "$work"
"$ffmpeg" -v error -y -f lavfi -i sine=duration=1:sample_rate=48000 -c:a pcm_bluray -ac 2 source.m2ts

for container in mov mp4 mkv; do
  status=0
  "$ffmpeg" -v error -y -i source.m2ts -c copy "copy.$container" 2>/dev/null || status=$?
  echo "copy to $container: exit $status"
  if [ "$container" = mov ]; then [ "$status" = 0 ]; else [ "$status" != 0 ]; fi
done
echo "what is in copy.mov: $("$ffmpeg" -hide_banner -i copy.mov 2>&1 | grep -m1 "Stream.*Audio")"
! "$ffmpeg" -v error -i copy.mov -f null - 2>/dev/null
echo "unchanged: the copy in MOV is written without an error and cannot be decoded"
