"""Encoder options of the user's own are part of a cell: of its argv, its key, its record and the digest."""

import shlex

import pytest

from vmaf_assay.corpus.build import build_corpus
from vmaf_assay.corpus.plan import parse_encoder, plan_cells, references_of, with_encoder_args
from vmaf_assay.corpus.sources import sources_from_paths
from vmaf_assay.corpus.store import load_corpus
from vmaf_assay.errors import ConfigError
from vmaf_assay.media.capability import tool_versions

pytestmark = pytest.mark.ffmpeg


@pytest.fixture(scope="module")
def setting(ffmpeg, clip):
    """A rendition of six frames and the versions of libx264."""
    (source,) = sources_from_paths([clip])
    return references_of(ffmpeg, source, sizes=[None], max_frames=6), tool_versions(ffmpeg, ["libx264"])


def _requests(*texts: str, encoder: str = "libx264:ultrafast:30"):
    return with_encoder_args([parse_encoder(encoder, None)], list(texts))


def test_options_change_rows_key_record_and_digest(ffmpeg, setting, tmp_path):
    """With `-g 1` the same cell has another key, other bytes and another digest, and its record says so."""
    renditions, versions = setting
    corpora = []
    for name, given in (("plain", []), ("intra", ["-g 1 -tune grain"])):
        cells = plan_cells(renditions, _requests(*given), versions)
        list(build_corpus(ffmpeg, cells, tmp_path / name, versions, jobs=1))
        corpora.append(load_corpus(tmp_path / name))
    plain, intra = (corpus.cells[0] for corpus in corpora)
    assert (plain.encoder_args, intra.encoder_args) == ("", "-g 1 -tune grain")
    assert plain.key != intra.key
    assert intra.bytes > plain.bytes
    assert corpora[0].digest != corpora[1].digest


def test_one_corpus_holds_one_set_of_options_an_encoder_and_preset(setting):
    """Rows that only their options tell apart would be taken for one another by every model."""
    renditions, versions = setting
    with pytest.raises(ConfigError, match="two sets of --encoder-args"):
        plan_cells(renditions, [*_requests(), *_requests("-tune grain")], versions)


def test_options_name_their_encoder_where_there_are_several():
    """Options without a name go to the only encoder; with several, and for one not asked for, that is an error."""
    several = [parse_encoder(text, None) for text in ("libx264", "libvpx-vp9")]
    made = with_encoder_args(several, ["libvpx-vp9=-lag-in-frames 25", "libvpx-vp9=-g 60"])
    assert [shlex.join(request.encoder.extra_args) for request in made] == ["", "-lag-in-frames 25 -g 60"]
    with pytest.raises(ConfigError, match="does not name its encoder"):
        with_encoder_args(several, ["-g 60"])
    with pytest.raises(ConfigError, match="libx265, which is not among the encoders"):
        with_encoder_args(several, ["libx265=-g 60"])
