#!/usr/bin/env bash
# ffmpeg's tonemap and zscale make SDR of HDR and leave mastering display and MaxCLL on the frames:
# encoders write them into the SDR stream.
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
"$ffmpeg" -v error -f lavfi -i testsrc2=size=192x108:rate=25 -frames:v 5 \
  -vf setparams=color_trc=smpte2084:color_primaries=bt2020:colorspace=bt2020nc -c:v libx265 -pix_fmt yuv420p10le \
  -x265-params "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,200:log-level=none" \
  "$work/pq.mkv"
"$ffmpeg" -v error -i "$work/pq.mkv" -vf "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable,\
zscale=t=bt709:m=bt709:p=bt709:r=tv,format=yuv420p" -c:v libx264 "$work/sdr.mkv"
said=$("$ffmpeg" -hide_banner -i "$work/sdr.mkv" -vf showinfo -f null - 2>&1)
transfer=$(grep -c "color_trc:bt709" <<< "$said" || true) kept=$(grep -c "Mastering display" <<< "$said" || true)
echo "frames of BT.709: $transfer; mentions of a mastering display: $kept"
[ "$transfer" -gt 0 ] && [ "$kept" -gt 0 ]
