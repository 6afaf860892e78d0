"""The user's own encoder options: read, checked against what the encoder's record allows, and joined to ours.

What a user may set of each encoder: options and keys that neither open a file nor decide what is measured.

Left out are options that write or read files, as `stats`, `passlogfile`, `qpfile`, `csv` and `dump-yuv`. So are
those that decide rate, threads or frames, or load other code. `--unsafe-args` lets those that open files through.
"""

import re
import shlex
from dataclasses import replace

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.encoders.record import EncoderInfo


def words(*texts: str) -> frozenset[str]:
    """The words of some texts."""
    return frozenset(word for text in texts for word in text.split())


GENERIC = words(
    "g bf refs keyint_min qmin qmax qcomp qdiff qblur i_qfactor b_qfactor i_qoffset b_qoffset maxrate",
    "bufsize rc_init_occupancy trellis me_range subq chromaoffset sc_threshold b_strategy coder profile",
    "level color_primaries color_trc colorspace color_range chroma_sample_location field_order slices",
)
"""Options of ffmpeg's that every encoder may have."""

X264 = words(
    "tune fastfirstpass wpredp a53cc crf_max aq-mode aq-strength psy psy-rd rc-lookahead weightb weightp",
    "intra-refresh bluray-compat b-bias b-pyramid mixed-refs 8x8dct fast-pskip aud mbtree deblock",
    "cplxblur partitions direct-pred slice-max-size nal-hrd avcintra-class me_method motion-est",
    "forced-idr noise_reduction udu_sei",
)
X264_PARAMS = words(
    "keyint min-keyint no-scenecut scenecut intra-refresh bframes b-adapt b-bias b-pyramid open-gop ref",
    "no-deblock deblock slices slices-max slice-max-size slice-max-mbs slice-min-mbs tff bff",
    "constrained-intra pulldown fake-interlaced frame-packing qpmin qpmax qpstep ratetol vbv-maxrate",
    "vbv-bufsize vbv-init crf-max ipratio pbratio chroma-qp-offset aq-mode aq-strength cplxblur qblur",
    "qcomp rc-lookahead mbtree no-mbtree partitions direct weightb no-weightb weightp me merange mvrange",
    "mvrange-thread subme psy-rd psy no-psy mixed-refs no-mixed-refs chroma-me no-chroma-me 8x8dct",
    "no-8x8dct trellis fast-pskip no-fast-pskip dct-decimate no-dct-decimate nr deadzone-inter",
    "deadzone-intra cabac no-cabac overscan videoformat range colorprim transfer colormatrix chromaloc",
    "nal-hrd filler pic-struct crop-rect aud bluray-compat avcintra-class stitchable alternative-transfer",
    "mastering-display cll level",
)
X265 = words("tune forced-idr udu_sei a53cc")
X265_PARAMS = words(
    "keyint min-keyint scenecut no-scenecut scenecut-bias hist-scenecut open-gop no-open-gop bframes",
    "b-adapt bframe-bias b-pyramid no-b-pyramid b-intra no-b-intra ref limit-refs limit-modes rect",
    "no-rect amp no-amp early-skip no-early-skip rskip rskip-edge-threshold splitrd-skip fast-intra",
    "no-fast-intra tskip tskip-fast ctu min-cu-size max-tu-size tu-intra-depth tu-inter-depth limit-tu rd",
    "rdoq-level rd-refine rdpenalty dynamic-rd ssim-rd psy-rd psy-rdoq max-merge me subme merange",
    "temporal-mvp no-temporal-mvp weightp no-weightp weightb no-weightb hme hme-search hme-range deblock",
    "no-deblock sao no-sao sao-non-deblock limit-sao selective-sao signhide no-signhide",
    "strong-intra-smoothing no-strong-intra-smoothing constrained-intra cutree no-cutree aq-mode",
    "aq-strength aq-motion hevc-aq qg-size qcomp qpstep qpmin qpmax cbqpoffs crqpoffs ipratio pbratio",
    "cplxblur qblur nr-intra nr-inter rc-lookahead lookahead-slices gop-lookahead vbv-maxrate vbv-bufsize",
    "vbv-init crf-max crf-min rc-grain no-rc-grain lossless cu-lossless tune sar display-window overscan",
    "videoformat range colorprim transfer colormatrix chromaloc master-display max-cll min-luma max-luma",
    "hdr10 hdr10-opt repeat-headers aud no-aud eob eos hrd info no-info hash level-idc high-tier",
    "no-high-tier uhd-bd intra-refresh fades max-ausize-factor radl idr-recovery-sei temporal-layers wpp",
    "no-wpp pmode pme slices vui-timing-info vui-hrd-info opt-qp-pps opt-ref-list-length-pps",
    "multi-pass-opt-rps opt-cu-delta-qp mcstf frame-dup",
)
SVTAV1_PARAMS = words(
    "keyint irefresh-type scd lookahead tune sharpness enable-variance-boost variance-boost-strength",
    "variance-octile variance-boost-curve enable-qm qm-min qm-max chroma-qm-min chroma-qm-max",
    "enable-overlays enable-tf tf-strength film-grain film-grain-denoise aq-mode enable-dlf enable-cdef",
    "enable-restoration enable-mfmv enable-dg fast-decode scm screen-content-mode tile-columns tile-rows",
    "hierarchical-levels pred-struct luminance-qp-bias qp-scale-compress-strength ac-bias",
    "enable-dynamic-gop noise-norm-strength color-primaries transfer-characteristics matrix-coefficients",
    "color-range chroma-sample-position mastering-display content-light max-qp min-qp mbr sframe-dist",
    "sframe-mode avif startup-mg-size",
)
AOM = words(
    "auto-alt-ref lag-in-frames arnr-max-frames arnr-strength aq-mode error-resilience static-thresh",
    "denoise-noise-level denoise-block-size tiles tile-columns tile-rows enable-cdef enable-global-motion",
    "enable-intrabc enable-restoration tune enable-rect-partitions enable-1to4-partitions",
    "enable-ab-partitions enable-angle-delta enable-cfl-intra enable-filter-intra",
    "enable-intra-edge-filter enable-smooth-intra enable-paeth-intra enable-palette enable-flip-idtx",
    "enable-tx64 reduced-tx-type-set enable-ref-frame-mvs enable-reduced-reference-set enable-obmc",
    "enable-dual-filter enable-diff-wtd-comp enable-dist-wtd-comp enable-onesided-comp",
    "enable-interinter-wedge enable-interintra-wedge enable-masked-comp enable-interintra-comp",
    "enable-smooth-interintra",
)
AOM_PARAMS = words(
    "enable-qm qm-min qm-max enable-chroma-deltaq deltaq-mode deltalf-mode sharpness tune-content aq-mode",
    "arnr-maxframes arnr-strength enable-keyframe-filtering enable-tpl-model enable-fwd-kf kf-min-dist",
    "kf-max-dist max-reference-frames disable-trellis-quant quant-b-adapt enable-rect-tx",
    "enable-tx-size-search enable-dnl-denoising denoise-noise-level gf-max-pyr-height gf-min-pyr-height",
    "min-gf-interval max-gf-interval sb-size loopfilter-control cdf-update-mode mode-cost-upd-freq",
    "coeff-cost-upd-freq mv-cost-upd-freq dist-metric film-grain-test screen-detection-mode",
)
VPX = words(
    "lag-in-frames arnr-maxframes arnr-strength arnr-type arnr_max_frames arnr_strength arnr_type tune",
    "error-resilient max-intra-rate static-thresh noise-sensitivity auto-alt-ref tile-columns tile-rows",
    "frame-parallel aq-mode tune-content corpus-complexity enable-tpl min-gf-interval sharpness lossless",
)
VVENC = words("period tier")
VVENC_PARAMS = words(
    "intraperiod refreshsec gopsize decodingrefreshtype tier mctf mctffuturereference mctfspeed alf ccalf",
    "sao lmcs dmvr bdof affine ibc mts mtsimplicit lfnst isp mip mrl sbt smvd amvr bcw ciip gpm prof mmvd",
    "lmchroma jointcbcr depquant rdoq signdatahiding tsk bdpcm transformskip contentlightlevel",
    "masteringdisplay aud hrd vuiparameterspresent sei colourprimaries matrixcoefficients",
    "transfercharacteristics subjectiveqp",
)
NVENC = words(
    "tune tier rc-lookahead no-scenecut forced-idr b_adapt spatial-aq temporal-aq ",
    "nonref_p strict_gop aq-strength aud bluray-compat weighted_pred b_ref_mode a53cc dpb_size multipass",
    "extra_sei udu_sei intra-refresh tf_level lookahead_level unidir_b coder qp_cb_offset qp_cr_offset",
)
QSV = words(
    "async_depth forced_idr low_power rdo mbbrc extbrc p_strategy adaptive_i adaptive_b scenario",
    "idr_interval tier gpb tile_cols tile_rows recovery_point_sei aud pic_timing_sei transform_skip",
    "look_ahead_depth",
)
AMF = words(
    "usage profile_tier header_insertion_mode me_half_pel me_quarter_pel aud gops_per_idr",
    "high_motion_quality_boost_enable",
)
VIDEOTOOLBOX = words(
    "realtime frames_before frames_after a53cc alpha_quality power_efficient spatial_aq max_ref_frames"
)
VAAPI = words("idr_interval b_depth async_depth low_power blbrc aud tier sei tiles quality tile_groups")
VULKAN = words("idr_interval b_depth async_depth tune usage content tier units quality")
RAV1E = words("tiles tile-rows tile-columns")
RAV1E_PARAMS = words(
    "key_frame_interval min_key_frame_interval reservoir_frame_delay low_latency tune film_grain_level"
)
OPENH264 = words("loopfilter max_nal_size")
KVAZAAR_PARAMS = words(
    "period gop vps-period ref bipred deblock sao signhide rdoq rd subme me full-intra-search smp amp",
    "tr-depth-intra pu-depth-intra pu-depth-inter mv-rdo transform-skip early-skip max-merge vaq open-gop",
    "intra-qp-offset hash",
)
LACKING = {
    "h264_nvenc": words("tier unidir_b"),
    "hevc_nvenc": words("coder"),
    "av1_nvenc": words("aud bluray-compat coder udu_sei unidir_b"),
    "h264_qsv": words("gpb tier tile_cols tile_rows transform_skip"),
    "av1_qsv": words(
        "aud gpb idr_interval mbbrc p_strategy pic_timing_sei rdo recovery_point_sei scenario tier",
        "transform_skip",
    ),
    "h264_amf": words("gops_per_idr header_insertion_mode profile_tier"),
    "av1_amf": words("aud gops_per_idr me_half_pel me_quarter_pel profile_tier"),
    "h264_vaapi": words("tier tile_groups tiles"),
    "hevc_vaapi": words("quality tile_groups"),
    "av1_vaapi": words("aud quality sei"),
    "h264_vulkan": words("tier"),
}
"""Options of a family that one of its encoders does not have (`ffmpeg -h encoder=NAME`, ffmpeg n9.0.2)."""


# The user never sets quality, threads, frames or streams, even with --unsafe-args.
_OURS = words(
    "c codec vcodec b crf qp q qscale global_quality cq cpu-used preset threads row-mt i f map vf filter",
    "filter_complex lavfi r s ss sseof t to frames vframes fps_mode vsync enc_time_base flags pix_fmt bsf",
    "y n",
)
_OUR_KEYS = words(
    "crf qp bitrate rc tbr pass threads lookahead-threads sliced-threads pools numa-pools frame-threads",
    "lp pin tile-threads fps preset",
)


def with_extra_args(info: EncoderInfo, text: str, *, unsafe: bool = False) -> EncoderInfo:
    """The encoder with the user's options added, as in `-tune grain -g 48`.

    Args:
      info: entry of the table.
      text: options as a shell would read them; each takes one value.
      unsafe: whether options outside the encoder's own list are passed on, those that open files among them.

    Raises:
      ConfigError: an option without a value, or a bare word, which ffmpeg would take for an output. Also one that
        decides rate, preset, threads, frames or streams, or that is not known to leave files alone.
    """
    try:
        given = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"--encoder-args {text!r}: {error}", next_step="quote it once") from error
    options, values = given[::2], given[1::2]
    bare = next((word for word in options if not re.fullmatch(r"-[A-Za-z][\w:.-]*", word)), None)
    if bare is not None or len(options) != len(values):
        raise ConfigError(
            f"--encoder-args {text!r}: "
            + (f"{bare!r} is not an option" if bare else f"{options[-1]} has no value"),
            next_step="write pairs, as '-tune grain -g 48'",
        )
    for option, value in zip(options, values, strict=True):
        if option == info.params_option:
            for key in _keys(info, value):
                _check_key(info, option, key, unsafe=unsafe)
        else:
            _check_option(info, option, unsafe=unsafe)
    return replace(info, extra_args=tuple(given))


def _check_option(info: EncoderInfo, option: str, *, unsafe: bool) -> None:
    if option == info.preset_flag:
        raise ConfigError(
            f"--encoder-args: {option} of {info.name} is set by --preset",
            next_step=f"use --preset, or -e {info.name}:PRESET",
        )
    name = option[1:].partition(":")[0]
    flags = {
        info.rate_flag,
        *info.also_rate_flags,
        *info.constant_quality_args,
        *info.fixed_args,
        *info.device_args,
    }
    if option in flags or name in _OURS:
        raise ConfigError(
            f"--encoder-args: {option} of {info.name} is set by the encoder table",
            next_step="leave it out; rates are chosen, and threads are fixed so that every encode is the same",
        )
    if name not in info.options | (GENERIC if info.takes_generic else set()) and not unsafe:
        raise ConfigError(
            f"--encoder-args: {option} is not among the options of {info.name} known to leave files alone",
            next_step="correct its spelling, or add --unsafe-args if you trust it",
        )


def _check_key(info: EncoderInfo, option: str, key: str, *, unsafe: bool) -> None:
    fixed = {
        setting.partition("=")[0] for value in info.fixed_args for setting in value.split(info.params_separator)
    }
    if key in _OUR_KEYS | fixed:
        raise ConfigError(
            f"--encoder-args: {key} of {info.name} is set by the encoder table",
            next_step="leave it out; rates are chosen, and threads are fixed so that every encode is the same",
        )
    if key not in info.params and not unsafe:
        raise ConfigError(
            f"--encoder-args: {key} of {option} is no setting of {info.name} known to leave files alone",
            next_step="correct its spelling, or add --unsafe-args if you trust it",
        )


def _keys(info: EncoderInfo, value: str) -> list[str]:
    """Names of the settings in the value of `params_option`, as the encoder writes them."""
    settings = [part.partition("=")[0] for part in value.split(info.params_separator) if part]
    return [key.strip().lower().replace("_", "-") for key in settings]


def join_args(info: EncoderInfo, args: list[str]) -> list[str]:
    """Options in pairs, with all settings of `params_option` in one, because of two the last would win.

    >>> from vmaf_assay.media.encoders.table import ENCODERS
    >>> join_args(ENCODERS["libx265"], ["-x265-params", "pools=3", "-g", "48", "-x265-params", "aq-mode=3"])
    ['-x265-params', 'pools=3:aq-mode=3', '-g', '48']
    """
    joined: list[str] = []
    for option, value in zip(args[::2], args[1::2], strict=True):
        if option == info.params_option and option in joined:
            joined[joined.index(option) + 1] += f"{info.params_separator}{value}"
        else:
            joined += [option, value]
    return joined
