"""How each file of the zoo is made: lines of ffmpeg and mkvmerge options and edits of boxes.

A line is ffmpeg's options, unless it begins with `mkvmerge` or with the name of an edit. `{noise}` and the like are
inputs of 30 frames of moving, textured content; `{tone}` is 1.2 s of sound; `{x264}` an H.264 encode.
`report` names a public report of the layout.
"""

from dataclasses import dataclass

FRAMES = 30
SIZE = "160x90"

_GRAPHS = {
    "noise": f"testsrc2=size={SIZE}:rate=25,noise=alls=14:allf=t:all_seed=5",
    "fractal": f"mandelbrot=size={SIZE}:rate=25:start_scale=0.5:end_scale=0.1:end_pts=60",
    "life": f"life=size={SIZE}:rate=25:mold=10:ratio=0.3:seed=7:death_color=0x203040:life_color=0xc0d0e0",
    "dark": f"testsrc2=size={SIZE}:rate=25,eq=brightness=-0.35:contrast=0.4,noise=alls=6:allf=t:all_seed=9",
    "zoom": f"testsrc=size={SIZE}:rate=25,zoompan=z='1+0.01*on':d=1:s={SIZE}:fps=25",
    "film": f"testsrc2=size={SIZE}:rate=24000/1001,noise=alls=10:allf=t:all_seed=3",
    "ntsc": f"testsrc2=size={SIZE}:rate=30000/1001,noise=alls=10:allf=t:all_seed=4",
    "sixty": f"testsrc2=size={SIZE}:rate=60000/1001,noise=alls=8:allf=t:all_seed=6",
    "slow": f"life=size={SIZE}:rate=15/2:mold=10:ratio=0.4:seed=2:death_color=0x302010:life_color=0xe0c0a0",
    "odd": "testsrc2=size=161x91:rate=25,noise=alls=9:allf=t:all_seed=8",
    "tall": "testsrc2=size=90x160:rate=25,noise=alls=9:allf=t:all_seed=12",
    "square": "testsrc2=size=128x128:rate=25,noise=alls=9:allf=t:all_seed=13",
    "dv": "testsrc2=size=720x576:rate=25,noise=alls=6:allf=t:all_seed=14",
    "fields": "testsrc2=size=160x96:rate=50,noise=alls=6:allf=t:all_seed=15,tinterlace=interleave_top",
    "see": f"testsrc2=size={SIZE}:rate=25,format=yuva420p,geq=lum='lum(X,Y)':a='if(lt(X,80),90,255)'",
}
INPUTS = {name: f'-f lavfi -i "{graph},trim=end_frame={FRAMES}"' for name, graph in _GRAPHS.items()}
INPUTS |= {
    "tone": "-f lavfi -i sine=frequency=440:duration=1.2:sample_rate=48000",
    "tone2": "-f lavfi -i sine=frequency=880:duration=1.2:sample_rate=48000",
    "picture": "-f lavfi -i mandelbrot=size=64x64:rate=1,trim=end_frame=1",
    "x264": "-c:v libx264 -preset ultrafast -crf 12 -pix_fmt yuv420p -threads 1",
    "main": "-c:v libx264 -preset veryfast -crf 12 -pix_fmt yuv420p -threads 1 -x264-params bframes=2:b-adapt=0",
}
"""What stands in braces."""


@dataclass(frozen=True)
class Recipe:
    """One file."""

    name: str
    """File name."""
    lines: str
    """How it is made."""
    rate: str = "25"
    """Frames a second that its maker meant."""
    refused: str = ""
    """A word of the refusal, where the source is one that nothing is calibrated for."""
    report: str = ""
    """A public report of this layout, `owner/repository#number`."""


def _simple() -> list[Recipe]:
    """Containers times codecs, with sound."""
    made = []
    table = {
        "mkv": ["libx264 -threads 1", "libx265 -x265-params log-level=error", "mpeg4 -q:v 2", "mpeg2video -q:v 2",
                "ffv1", "libvpx -b:v 800k", "libvpx-vp9 -crf 10 -cpu-used 8", "libsvtav1 -preset 12 -crf 20",
                "mjpeg -q:v 2", "huffyuv", "libtheora -q:v 9", "utvideo"],
        "mp4": ["libx264 -threads 1", "libx265 -tag:v hvc1 -x265-params log-level=error", "mpeg4 -q:v 2",
                "libvpx-vp9 -crf 10 -cpu-used 8", "libsvtav1 -preset 12 -crf 20", "libvvenc -preset faster -qp 20"],
        "mov": ["libx264 -threads 1", "mpeg4 -q:v 2", "mjpeg -q:v 2", "libxvid -q:v 2"],
        "avi": ["libx264 -bf 0 -threads 1", "mpeg4 -q:v 2", "mjpeg -q:v 2", "ffv1", "msmpeg4v3 -q:v 2", "huffyuv"],
        "ts": ["libx264 -threads 1", "libx265 -x265-params log-level=error", "mpeg2video -q:v 2"],
        "mpg": ["mpeg2video -q:v 2"],
        "webm": ["libvpx -b:v 800k", "libvpx-vp9 -crf 10 -cpu-used 8", "libsvtav1 -preset 12 -crf 20"],
        "flv": ["libx264 -threads 1", "flv -q:v 2"],
        "wmv": ["wmv2 -q:v 2"],
        "ogv": ["libtheora -q:v 9"],
        "nut": ["ffv1"],
        "3gp": ["mpeg4 -q:v 2"],
    }  # fmt: skip
    sound = {
        "webm": "libopus",
        "flv": "aac",
        "wmv": "wmav2",
        "ogv": "libvorbis",
        "avi": "libmp3lame",
        "mpg": "mp2",
    }
    content = ["noise", "fractal", "life", "dark", "zoom"]
    for suffix, codecs in table.items():
        for codec in codecs:
            video = content[len(made) % len(content)]
            name = f"{suffix}-{codec.split()[0].removeprefix('lib')}.{suffix}"
            lines = f"{{{video}}} {{tone}} -c:v {codec} -pix_fmt yuv420p -c:a {sound.get(suffix, 'aac')} {name}"
            made.append(Recipe(name, lines.replace("yuv420p", "yuvj420p") if "mjpeg" in codec else lines))
    return made


_SRT = "text s.srt 1\\n00:00:00,100 --> 00:00:00,600\\nHello\\n\\n2\\n00:00:00,700 --> 00:00:01,000\\nthere\\n\\n"
_VTT = "text s.vtt WEBVTT\\n\\n00:00.100 --> 00:00.600\\nHello\\n\\n"
_CHAPTERS = (
    "text m.txt ;FFMETADATA1\\ntitle=A title\\n[CHAPTER]\\nTIMEBASE=1/1000\\nSTART=0\\nEND=500\\ntitle=One\\n"
    "[CHAPTER]\\nTIMEBASE=1/1000\\nSTART=500\\nEND=1200\\ntitle=End of file\\n"
)
_COVER = "{picture} -frames:v 1 -c:v mjpeg -pix_fmt yuvj420p c.jpg"

_REPORTED = [
    # Turned by a matrix.
    Recipe("phone90.mp4", "{noise} {tone} {x264} -c:a aac a.mp4\n-display_rotation 90 -i a.mp4 -c copy phone90.mp4",
           report="HandBrake/HandBrake#409"),
    Recipe("phone270.mov", "{noise} {tone} {x264} -c:a aac a.mov\n-display_rotation -90 -i a.mov -c copy phone270.mov",
           report="alexheretic/ab-av1#263"),
    Recipe("phone180.mp4", "{life} {tone} {x264} -c:a aac a.mp4\n-display_rotation 180 -i a.mp4 -c copy phone180.mp4",
           report="holepunchto/bare-media#71"),
    Recipe("phone90-hevc.mov", "{dark} {tone} -c:v libx265 -x265-params log-level=error -pix_fmt yuv420p -tag:v hvc1 "
           "-c:a aac a.mov\n-display_rotation 90 -i a.mov -c copy phone90-hevc.mov", report="jellyfin/jellyfin#6305"),
    Recipe("iphone.mov", "{noise} {tone} {x264} -c:a aac -timecode 01:00:00:00 a.mov\n"
           "-display_rotation 90 -i a.mov -map 0:v -map 0:a -c copy iphone.mov", report="fifonik/FFMetrics#186"),
    # Edit lists, delays, starts.
    Recipe("no-edits.mp4", "{noise} {tone} {main} -c:a aac no-edits.mp4\nwithout no-edits.mp4 edts",
           report="mbunkus/mkvtoolnix#1889"),
    Recipe("late-sound.mp4", "{noise} {x264} v.mp4\n{tone} -c:a aac a.m4a\n"
           "-i v.mp4 -itsoffset 0.3 -i a.m4a -map 0:v -map 1:a -c copy late-sound.mp4", report="gpac/gpac#2283"),
    Recipe("late-video.mp4", "{noise} {main} v.mp4\n{tone} -c:a aac a.m4a\n"
           "-itsoffset 0.2 -i v.mp4 -i a.m4a -map 0:v -map 1:a -c copy late-video.mp4", report="gpac/gpac#648"),
    Recipe("cut-in-gop.mp4", "{noise} {tone} {main} -g 10 -c:a aac a.mp4\n-ss 0.52 -i a.mp4 -c copy cut-in-gop.mp4",
           report="HandBrake/HandBrake#568"),
    Recipe("delay.mkv", "{fractal} {tone} {x264} -c:a aac a.mkv\nmkvmerge -q -o delay.mkv --sync 1:250 a.mkv",
           report="mbunkus/mkvtoolnix#2174"),
    Recipe("not-at-zero.mkv", "{noise} {tone} {x264} -c:a aac a.mkv\n-i a.mkv -c copy -output_ts_offset 5 "
           "not-at-zero.mkv", report="mbunkus/mkvtoolnix#1170"),
    Recipe("delays.mkv", "{life} {tone} {tone2} -map 0 -map 1 -map 2 {x264} -c:a aac a.mkv\n"
           "mkvmerge -q -o delays.mkv --sync 1:120 --sync 2:-80 a.mkv", report="mifi/lossless-cut#758"),
    Recipe("high-clock.ts", "{noise} {tone} {x264} -c:a aac -output_ts_offset 24549 high-clock.ts",
           report="superuser404notfound/AetherEngine#577"),
    # Frame times.
    Recipe("vfr.mkv", "-f lavfi -i testsrc2=size=160x90:rate=50,noise=alls=9:allf=t:all_seed=2,"
           "select='gt(mod(n\\,5)\\,1)',trim=end_frame=30 {x264} -fps_mode vfr vfr.mkv", rate="vfr",
           report="rust-av/Av1an#770"),
    Recipe("vfr.mp4", "-f lavfi -i testsrc2=size=160x90:rate=60,noise=alls=9:allf=t:all_seed=2,"
           "select='not(mod(n\\,2))+lt(n\\,12)',trim=end_frame=30 {tone} {x264} -c:a aac -fps_mode vfr vfr.mp4",
           rate="vfr", report="Netflix/vmaf#155"),
    Recipe("gap.mkv", "-f lavfi -i testsrc2=size=160x90:rate=25,noise=alls=9:allf=t:all_seed=2,"
           "setpts='(N+12*gt(N\\,14))/25/TB',trim=end_frame=30 {x264} -fps_mode passthrough gap.mkv", rate="vfr",
           report="alexheretic/ab-av1#284"),
    Recipe("capture.mkv", "-f lavfi -i testsrc2=size=160x90:rate=60,noise=alls=9:allf=t:all_seed=2,"
           "select='gt(mod(n\\,7)\\,0)',trim=end_frame=30 {x264} -bf 0 -fps_mode vfr capture.mkv", rate="vfr",
           report="rust-av/Av1an#140"),
    Recipe("milliseconds.mkv", "{film} {x264} milliseconds.mkv", rate="24000/1001", report="fifonik/FFMetrics#111"),
    Recipe("sixty.mkv", "{sixty} {x264} a.mkv\nmkvmerge -q -o sixty.mkv a.mkv", rate="60000/1001",
           report="gdavila/easyVmaf#14"),
    Recipe("slow.mp4", "{slow} {x264} slow.mp4", rate="15/2", report="alexheretic/ab-av1#141"),
    Recipe("sixty.avi", "{sixty} {tone} {x264} -bf 0 -c:a libmp3lame sixty.avi", rate="60000/1001",
           report="mbunkus/mkvtoolnix#1600"),
    Recipe("ntsc.avi", "{ntsc} {tone} {x264} -bf 0 -c:a pcm_s16le ntsc.avi", rate="30000/1001",
           report="mbunkus/mkvtoolnix#1179"),
    Recipe("remuxed.mkv", "{film} {tone} {main} -c:a aac a.mp4\nmkvmerge -q -o remuxed.mkv a.mp4", rate="24000/1001",
           report="rust-av/Av1an#475"),
    # Timecode tracks and cameras' data.
    Recipe("resolve.mp4", "{noise} {tone} {x264} -c:a aac -timecode 01:00:00:00 resolve.mp4",
           report="alexheretic/ab-av1#317"),
    Recipe("mono-first.mov", "{noise} {tone} -map 1 -map 0 {x264} -c:a aac -ac 1 -timecode 01:00:00:00 mono-first.mov",
           report="alexheretic/ab-av1#207"),
    Recipe("quicktime-tc.mov", "{ntsc} {tone} -map 1 -map 0 {x264} -c:a pcm_s16be -timecode 00:59:40;00 "
           "quicktime-tc.mov\nrefer quicktime-tc.mov 1 tmcd 3", rate="30000/1001", report="snickers/snickers#47"),
    Recipe("camera24.mov", "{film} {tone} {x264} -c:a aac -timecode 19:36:10:05 camera24.mov\n"
           "refer camera24.mov 2 tmcd 3", rate="24000/1001", report="barefootford/buttercut#141"),
    Recipe("camera30.mp4", "{ntsc} {tone} {x264} -c:a aac -timecode 10:01:04:13 camera30.mp4\n"
           "refer camera30.mp4 2 tmcd 3", rate="30000/1001", report="MediaArea/MediaInfo#929"),
    Recipe("spatial.mov", "{noise} {tone} {tone2} -map 0 -map 1 -map 2 {x264} -c:a:0 aac -c:a:1 alac spatial.mov\n"
           "retag spatial.mov alac apac", report="alexheretic/ab-av1#351"),
    # Pictures beside the picture.
    Recipe("poster.mkv", _COVER + "\n{noise} {tone} {x264} -c:a aac a.mkv\nmkvmerge -q -o poster.mkv a.mkv "
           "--attachment-mime-type image/jpeg --attach-file c.jpg", report="rigaya/NVEnc#221"),
    Recipe("screenshot.mkv", _COVER + "\n{life} {tone} {x264} -c:a ac3 -attach c.jpg -metadata:s:t "
           "mimetype=image/jpeg screenshot.mkv", report="paulpacifico/shutter-encoder#328"),
    Recipe("cover.mp4", _COVER + "\n{noise} {tone} {x264} -c:a aac a.mp4\n-i a.mp4 -i c.jpg -map 0 -map 1 -c copy "
           "-disposition:v:1 attached_pic cover.mp4", report="KBVE/kbve#14855"),
    Recipe("webp-cover.mkv", "{picture} -frames:v 1 -c:v libwebp -pix_fmt yuv420p c.webp\n{noise} {tone} -c:v mpeg4 "
           "-q:v 2 -c:a libmp3lame a.mkv\nmkvmerge -q -o webp-cover.mkv a.mkv --attachment-mime-type image/webp "
           "--attach-file c.webp", report="sxyazi/yazi#3886"),
    Recipe("png-cover.m4v", "{picture} -frames:v 1 c.png\n{noise} {tone} {x264} -c:a aac a.mp4\n-i a.mp4 -i c.png "
           "-map 0 -map 1 -c copy -disposition:v:1 attached_pic -f mp4 png-cover.m4v", report="amule-org/amule#1075"),
    Recipe("fonts.mkv", "text f.ttf font\n" + _SRT + "\n{noise} {tone} -i s.srt -map 0 -map 1 -map 2 -c:v libsvtav1 "
           "-preset 12 -crf 20 -pix_fmt yuv420p -c:a libopus -c:s ass -attach f.ttf -metadata:s:t "
           "mimetype=application/x-truetype-font fonts.mkv", report="media-kit/media-kit#351"),
    # Old AVI.
    Recipe("bframes.avi", "{noise} {tone} -c:v mpeg4 -q:v 2 -bf 2 -pix_fmt yuv420p -c:a libmp3lame bframes.avi",
           report="AlexAltea/curator#9"),
    Recipe("xvid.avi", "{fractal} {tone} -c:v libxvid -q:v 2 -bf 2 -pix_fmt yuv420p -c:a ac3 xvid.avi",
           report="superuser404notfound/AetherEngine#516"),
    Recipe("h264-bframes.avi", "{noise} {tone} {main} -c:a libmp3lame h264-bframes.avi",
           report="AlexAltea/curator#10"),
    # Recordings.
    Recipe("mid-gop.ts", "{noise} {tone} {main} -g 12 -c:a mp2 mid-gop.ts\ntear mid-gop.ts 18800",
           report="mbunkus/mkvtoolnix#1409"),
    Recipe("sound-first.ts", "{noise} {x264} v.ts\n{tone} -c:a aac a.ts\n-itsoffset 0.5 -i v.ts -i a.ts -map 0 -map 1 "
           "-c copy sound-first.ts", report="moq-dev/moq#1885"),
    Recipe("open-gop.mkv", "{noise} -c:v libx265 -pix_fmt yuv420p -x265-params "
           "keyint=8:min-keyint=8:open-gop=1:bframes=3:b-adapt=0:log-level=error a.mkv\n-ss 0.33 -i a.mkv -c copy "
           "open-gop.mkv"),
    Recipe("tv50.ts", "{fields} {tone} {x264} -flags +ilme+ildct -x264-params interlaced=1:tff=1 -c:a mp2 tv50.ts",
           refused="interlaced", report="mbunkus/mkvtoolnix#1916"),
    Recipe("avchd.mts", "{fields} {tone} {x264} -x264-params interlaced=1:tff=1 -c:a ac3 -mpegts_m2ts_mode 1 -f mpegts "
           "avchd.mts", refused="interlaced", report="rust-av/Av1an#848"),
    Recipe("dvd.vob", "{fields} {tone} -c:v mpeg2video -q:v 2 -flags +ilme+ildct -alternate_scan 1 -pix_fmt "
           "yuv420p -c:a ac3 -f vob dvd.vob", refused="interlaced", report="HandBrake/HandBrake#6772"),
    Recipe("tape.dv", "{dv} {tone} -c:v dvvideo -pix_fmt yuv420p -c:a pcm_s16le -ar 48000 -ac 2 tape.dv",
           refused="interlaced", report="rastersoft/devedeng#28"),
    Recipe("tape.avi", "{dv} {tone} -c:v dvvideo -pix_fmt yuv420p -c:a pcm_s16le -ar 48000 -ac 2 tape.avi",
           refused="interlaced", report="rust-av/Av1an#699"),
    Recipe("bluray.m2ts", "{film} {tone} {x264} -c:a pcm_bluray -ac 2 bluray.m2ts", rate="24000/1001",
           report="NMAAHC/nmaahcmm#69"),
    Recipe("sony.m2ts", "{noise} {tone} {tone2} -map 0 -map 1 -map 2 {x264} -c:a:0 ac3 -c:a:1 pcm_bluray -ac 2 "
           "sony.m2ts", report="mifi/lossless-cut#476"),
    Recipe("captions.mp4", "{noise} {x264} -bf 0 c.264\nadd_captions c.264\n-r 25 -i c.264 -c copy captions.mp4",
           report="HandBrake/HandBrake#390"),
    Recipe("captions.ts", "{noise} {x264} -bf 0 c.264\nadd_captions c.264\n-r 25 -i c.264 {tone} -map 0 -map 1 -c:v copy "
           "-c:a ac3 captions.ts", report="MediaArea/MediaInfo#664"),
    # Shapes of pixels.
    Recipe("sar-x264.mkv", "{noise} {x264} -vf setsar=4320/4739 sar-x264.mkv", report="mbunkus/mkvtoolnix#1726"),
    Recipe("pal.mpg", "{square} {tone} -vf setsar=16/15 -c:v mpeg2video -q:v 2 -pix_fmt yuv420p -c:a mp2 pal.mpg",
           report="rigaya/NVEnc#43"),
    Recipe("wide.m4v", "{noise} {tone} {x264} -vf setsar=4/3 -c:a aac -f mp4 wide.m4v", report="jellyfin/jellyfin#2273"),
    Recipe("sar-hevc.mkv", "{noise} -c:v libx265 -x265-params log-level=error -pix_fmt yuv420p -vf setsar=45/34 "
           "sar-hevc.mkv", report="jellyfin/jellyfin-roku#622"),
    Recipe("sar-nearly.mp4", "{noise} {x264} -vf setsar=255/256 sar-nearly.mp4", report="jellyfin/jellyfin-roku#755"),
    Recipe("wide.wmv", "{noise} {tone} -vf setsar=4/3 -c:v wmv2 -q:v 2 -pix_fmt yuv420p -c:a wmav2 wide.wmv",
           report="stax76/staxrip#101"),
    # Transparency.
    Recipe("alpha8.webm", "{see} -c:v libvpx -b:v 800k -auto-alt-ref 0 alpha8.webm", refused="transparency",
           report="samdutton/simpl#133"),
    Recipe("alpha9.webm", "{see} -c:v libvpx-vp9 -crf 10 -cpu-used 8 alpha9.webm", refused="transparency",
           report="fnordware/AdobeWebM#17"),
    Recipe("alpha.mov", "{see} -c:v qtrle -pix_fmt argb alpha.mov", refused="transparency",
           report="MizaGBF/GBFAP#4"),
    # Subtitles and tags.
    Recipe("statistics.mkv", _SRT + "\n{noise} {tone} -i s.srt -map 0 -map 1 -map 2 -map 2 {x264} -c:a flac -c:s ass "
           "a.mkv\nmkvmerge -q -o statistics.mkv --language 1:jpn --track-name 2:Signs --forced-display-flag 2:yes "
           "a.mkv", report="jellyfin/jellyfin#12462"),
    Recipe("webvtt.mkv", _VTT + "\n{noise} {tone} -i s.vtt -map 0 -map 1 -map 2 {x264} -c:a aac -c:s webvtt webvtt.mkv",
           report="HaveAGitGat/Tdarr_Plugins#703"),
    Recipe("lpcm.mkv", "{noise} {tone} {x264} -c:a pcm_s24le lpcm.mkv", report="HandBrake/HandBrake#1216"),
    Recipe("seconds.mp4", "{film} {main} -video_track_timescale 24000 seconds.mp4", rate="24000/1001",
           report="FFMS/ffms2#109"),
    Recipe("caf\udce9.mp4", "{noise} {tone} {x264} -c:a aac caf\udce9.mp4", report="quodlibet/mutagen#648"),
]  # fmt: skip

_MORE = [
    Recipe("title-corrupt.mkv", "{noise} {tone} {x264} -c:a aac -metadata title=Corrupt title-corrupt.mkv"),
    Recipe("The Incorruptibles.mp4", "{noise} {tone} {x264} -c:a aac 'The Incorruptibles.mp4'"),
    Recipe("truncated-handler.mp4", "{noise} {x264} -metadata:s:v:0 handler_name='Truncated by editor' "
           "truncated-handler.mp4"),
    Recipe("rotation-comment.mp4", "{noise} {x264} -metadata comment='rotation of 90.00 degrees' rotation-comment.mp4"),
    Recipe("alpha-comment.mkv", "{noise} {x264} -metadata comment='alpha_mode test' alpha-comment.mkv"),
    Recipe("chapters.mkv", _CHAPTERS + "\n{noise} {tone} -i m.txt -map 0 -map 1 -map_metadata 2 -map_chapters 2 {x264} "
           "-c:a aac chapters.mkv"),
    Recipe("chapters.mp4", _CHAPTERS + "\n{noise} {tone} -i m.txt -map 0 -map 1 -map_metadata 2 -map_chapters 2 {x264} "
           "-c:a aac chapters.mp4"),
    Recipe("chapters-tc.mov", _CHAPTERS + "\n{noise} {tone} -i m.txt -map 0 -map 1 -map_metadata 2 -map_chapters 2 {x264} "
           "-c:a aac -timecode 02:00:00:00 chapters-tc.mov"),
    Recipe("merged-chapters.mkv", "text c.txt CHAPTER01=00:00:00.000\\nCHAPTER01NAME=One\\nCHAPTER02=00:00:00.600\\n"
           "CHAPTER02NAME=Invalid data\\n\n{life} {tone} {x264} -c:a aac a.mp4\nmkvmerge -q -o merged-chapters.mkv "
           "--chapters c.txt --title 'Exceeds max' a.mp4"),
    Recipe("languages.mkv", _SRT + "\n{noise} {tone} {tone2} -i s.srt -map 0 -map 1 -map 2 -map 3 -map 3 {x264} -c:a aac "
           "-c:s subrip -metadata:s:a:0 language=eng -metadata:s:a:1 language=fra -metadata:s:a:1 title=Commentaire "
           "-disposition:a:1 comment -metadata:s:s:0 language=deu -disposition:s:1 forced languages.mkv"),
    Recipe("languages.mp4", _SRT + "\n{noise} {tone} {tone2} -i s.srt -map 0 -map 1 -map 2 -map 3 {x264} -c:a aac "
           "-c:s mov_text -metadata:s:a:0 language=eng -metadata:s:a:1 language=fra -metadata:s:s:0 language=deu "
           "languages.mp4"),
    Recipe("two-videos.mkv", "{noise} {life} {tone} -map 0 -map 1 -map 2 {x264} -c:a aac two-videos.mkv"),
    Recipe("two-videos.mp4", "{fractal} {noise} {tone} -map 0 -map 1 -map 2 {x264} -c:a aac two-videos.mp4"),
    Recipe("turned-second.mp4", "{noise} {x264} a.mp4\n{life} {x264} b.mp4\n-i a.mp4 -display_rotation 90 -i b.mp4 "
           "-map 0 -map 1 -c copy turned-second.mp4"),
    Recipe("two-programs.ts", "{noise} {tone} {life} {tone2} -map 0 -map 1 -map 2 -map 3 {x264} -c:a aac "
           "-program program_num=1:st=0:st=1 -program program_num=2:st=2:st=3 two-programs.ts"),
    Recipe("pgs.mkv", "make_sup s.sup\n{noise} {tone} -i s.sup -map 0 -map 1 -map 2 {x264} -c:a ac3 -c:s copy pgs.mkv"),
    Recipe("pgs-merged.mkv", "make_sup s.sup\n{noise} {tone} {x264} -c:a dca -strict -2 a.mkv\nmkvmerge -q -o "
           "pgs-merged.mkv a.mkv --language 0:eng s.sup"),
    Recipe("truehd.mkv", "{noise} {tone} {x264} -c:a truehd -strict -2 -ac 2 truehd.mkv"),
    Recipe("dts.mkv", "{noise} {tone} {x264} -c:a dca -strict -2 -ac 2 dts.mkv"),
    Recipe("eac3.ts", "{noise} {tone} {x264} -c:a eac3 eac3.ts"),
    Recipe("ac3.ts", "{life} {tone} {x264} -c:a ac3 ac3.ts"),
    Recipe("opus.mkv", "{noise} {tone} {x264} -c:a libopus opus.mkv"),
    Recipe("vorbis.mkv", "{noise} {tone} {x264} -c:a libvorbis vorbis.mkv"),
    Recipe("alac.mov", "{noise} {tone} {x264} -c:a alac alac.mov"),
    Recipe("pcm-be.mov", "{noise} {tone} {x264} -c:a pcm_s24be pcm-be.mov"),
    Recipe("wavpack.mkv", "{noise} {tone} {x264} -c:a wavpack wavpack.mkv"),
    Recipe("tta.mkv", "{noise} {tone} {x264} -c:a tta tta.mkv"),
    Recipe("adpcm.avi", "{noise} {tone} -c:v mpeg4 -q:v 2 -c:a adpcm_ms adpcm.avi"),
    Recipe("no-sound.mp4", "{noise} {x264} no-sound.mp4"),
    Recipe("six-sounds.mkv", "{noise} {tone} " + "-map 0 " + "-map 1 " * 6 + "{x264} -c:a aac six-sounds.mkv"),
    Recipe("fragmented.mp4", "{noise} {tone} {main} -c:a aac -movflags frag_keyframe+empty_moov fragmented.mp4"),
    Recipe("dash.mp4", "{noise} {main} -movflags dash+frag_keyframe dash.mp4"),
    Recipe("faststart.mp4", "{noise} {tone} {main} -c:a aac -movflags +faststart faststart.mp4"),
    Recipe("negative-cts.mp4", "{noise} {main} -movflags negative_cts_offsets negative-cts.mp4"),
    Recipe("odd.mkv", "{odd} -c:v ffv1 -pix_fmt yuv420p odd.mkv"),
    Recipe("tall.mp4", "{tall} {tone} {x264} -c:a aac tall.mp4"),
    Recipe("square.mkv", "{square} {x264} square.mkv"),
    Recipe("gray.mkv", "{noise} -c:v ffv1 -pix_fmt gray gray.mkv"),
    Recipe("ten-bit.mkv", "{noise} -c:v ffv1 -pix_fmt yuv420p10le ten-bit.mkv", refused="8-bit"),
    Recipe("four-four-four.mkv", "{noise} -c:v ffv1 -pix_fmt yuv444p four-four-four.mkv", refused="8-bit"),
    Recipe("full-range.mp4", "{noise} {x264} -vf scale=out_range=pc -color_range pc full-range.mp4"),
    Recipe("bt601.mp4", "{noise} {x264} -colorspace smpte170m -color_primaries smpte170m -color_trc smpte170m bt601.mp4"),
    Recipe("raw.264", "{noise} {x264} raw.264"),
    Recipe("raw.265", "{noise} -c:v libx265 -x265-params log-level=error -pix_fmt yuv420p raw.265"),
    Recipe("raw.ivf", "{noise} -c:v libvpx-vp9 -crf 10 -cpu-used 8 -pix_fmt yuv420p raw.ivf"),
    Recipe("raw.obu", "{noise} -c:v libsvtav1 -preset 12 -crf 20 -pix_fmt yuv420p raw.obu"),
    Recipe("raw.m2v", "{noise} -c:v mpeg2video -q:v 2 -pix_fmt yuv420p raw.m2v"),
    Recipe("raw.y4m", "{noise} -pix_fmt yuv420p raw.y4m"),
    Recipe("mkvmerged.mkv", "{noise} {tone} {main} -c:a aac a.mp4\nmkvmerge -q -o mkvmerged.mkv a.mp4"),
    Recipe("mkvmerged.webm", "{noise} {tone} -c:v libvpx-vp9 -crf 10 -cpu-used 8 -pix_fmt yuv420p -c:a libopus a.webm\n"
           "mkvmerge -q -w -o mkvmerged.webm a.webm"),
    Recipe("appended.mkv", "{noise} {x264} a.mkv\n{noise} {x264} b.mkv\nmkvmerge -q -o appended.mkv a.mkv + b.mkv"),
    Recipe("compressed.mkv", "{noise} {tone} {x264} -c:a ac3 a.mkv\nmkvmerge -q -o compressed.mkv --compression "
           "0:none --compression 1:none --cues 0:all a.mkv"),
]  # fmt: skip


def recipes() -> list[Recipe]:
    """All of them."""
    return [*_simple(), *_REPORTED, *_MORE]
