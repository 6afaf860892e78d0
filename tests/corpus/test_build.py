"""A corpus is complete, resumable, and its digest says what is in it."""

import json
import shlex
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from vmaf_assay.cli.main import main
from vmaf_assay.corpus.build import build_corpus
from vmaf_assay.corpus.jsonl import read_jsonl, write_jsonl
from vmaf_assay.corpus.plan import parse_encoder, plan_cells, references_of
from vmaf_assay.corpus.sources import sources_from_manifest, sources_from_paths
from vmaf_assay.corpus.store import check_cells, index_versions, load_corpus, pack
from vmaf_assay.errors import ConfigError, CorpusError, IntegrityError, MediaError
from vmaf_assay.media.capability import tool_versions
from vmaf_assay.media.files import sha256_file
from vmaf_assay.records import VALUES

pytestmark = pytest.mark.ffmpeg


@pytest.fixture(scope="module")
def plan(ffmpeg, clip):
    """Four cells: one source at two sizes, libx264 ultrafast at two rate values."""
    requests = [parse_encoder("libx264:ultrafast:25,40", None)]
    versions = tool_versions(ffmpeg, ["libx264"])
    (source,) = sources_from_paths([clip])
    renditions = references_of(ffmpeg, source, sizes=[None, (96, 54)], max_frames=6)
    return plan_cells(renditions, requests, versions), versions


@pytest.fixture(scope="module")
def corpus_dir(ffmpeg, plan, tmp_path_factory):
    """The plan, built."""
    folder = tmp_path_factory.mktemp("corpus")
    steps = list(build_corpus(ffmpeg, plan[0], folder, plan[1], jobs=2))
    assert [step.n_done for step in steps] == [0, 1, 2, 3, 4]
    return folder


def test_corpus_holds_every_cell_and_frame(corpus_dir):
    """Four cells of six frames, both renditions in one group, higher CRF scoring lower."""
    corpus = load_corpus(corpus_dir)
    assert corpus.frames.height == 24
    assert {cell.source for cell in corpus.cells} == {"clip", "clip@96x54"}
    assert {cell.group for cell in corpus.cells} == {"clip"}
    means = corpus.frames.group_by("source", "rate_value").agg(pl.col("vmaf").mean()).sort("rate_value")
    for _, part in means.group_by("source"):
        assert part["vmaf"][0] > part["vmaf"][1]


def test_digest_does_not_depend_on_jobs_or_order(ffmpeg, plan, corpus_dir, tmp_path):
    """One job and reversed order give the same digest."""
    list(build_corpus(ffmpeg, plan[0][::-1], tmp_path, plan[1], jobs=1))
    assert load_corpus(tmp_path).digest == load_corpus(corpus_dir).digest


def test_a_stopped_build_resumes_and_measures_only_what_is_missing(ffmpeg, plan, corpus_dir, tmp_path):
    """After one lost and one damaged cell the rerun makes two cells and the same digest."""
    folder = tmp_path / "copy"
    shutil.copytree(corpus_dir, folder)
    digest = load_corpus(folder).digest
    first, second, *_ = sorted((folder / "cells").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:-40])
    (folder / "corpus.json").unlink()
    (folder / ".scratch").mkdir()
    (folder / ".scratch" / "left by a kill.y4m").touch()
    (folder / "cells" / ".left.parquet.x.tmp").touch()
    with pytest.raises(CorpusError, match="no finished corpus"):
        load_corpus(folder)
    steps = list(build_corpus(ffmpeg, plan[0], folder, plan[1], jobs=2))
    assert steps[0].n_reused == 2
    assert not (folder / ".scratch").exists()
    assert not list(folder.rglob("*.tmp"))
    assert load_corpus(folder).digest == digest


def test_no_flipped_byte_changes_what_is_read(corpus_dir, tmp_path):
    """Any one byte of a cell or of the packed rows flipped: refused, or (in bytes not used) the same rows."""
    folder = tmp_path / "copy"
    shutil.copytree(corpus_dir, folder)
    before = load_corpus(folder)
    (packed,) = folder.glob("rows-*.parquet")
    for victim in (sorted((folder / "cells").iterdir())[0], packed):
        whole = victim.read_bytes()
        refused = 0
        for position in range(0, len(whole), 37):
            victim.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
            try:
                after = load_corpus(folder)
                check_cells(folder, after.cells)
            except IntegrityError:
                refused += 1
            else:
                assert after.frames.equals(before.frames)
                assert after.digest == before.digest
        victim.write_bytes(whole)
        assert refused > 10
    packed.unlink()
    assert load_corpus(folder).frames.equals(before.frames), "cells stand in for lost packed rows"


def test_an_edited_index_is_refused(corpus_dir, tmp_path):
    """A bitrate changed in the index contradicts the digest."""
    folder = tmp_path / "copy"
    shutil.copytree(corpus_dir, folder)
    index = json.loads((folder / "corpus.json").read_text())
    index["cells"][0]["kbps"] += 1
    (folder / "corpus.json").write_text(json.dumps(index))
    with pytest.raises(IntegrityError, match="does not match its digest"):
        load_corpus(folder)


def test_an_index_of_many_cells_is_a_table(corpus_dir, tmp_path, monkeypatch):
    """Beyond a number of cells their records lie beside the index: the same corpus; damaged or lost, refused."""
    before = load_corpus(corpus_dir)
    monkeypatch.setattr("vmaf_assay.corpus.store.MAX_INLINE_CELLS", 3)
    assert pack(before, tmp_path, index_versions(corpus_dir)) == before.digest
    (table,) = tmp_path.glob("cells-*.parquet")
    after = load_corpus(tmp_path)
    assert (after.digest, after.cells) == (before.digest, before.cells)
    assert after.frames.equals(before.frames)
    table.write_bytes(table.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="damaged"):
        load_corpus(tmp_path)
    table.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        load_corpus(tmp_path)


def test_nan_or_a_missing_column_is_refused(corpus_dir, tmp_path):
    """Rows with NaN, or without a column, are not a corpus."""
    corpus = load_corpus(corpus_dir)
    pack(corpus, tmp_path, index_versions(corpus_dir))
    index = json.loads((tmp_path / "corpus.json").read_text())
    del index["rows_sha256"]  # as the first release wrote it; with it the bytes alone tell
    (tmp_path / "corpus.json").write_text(json.dumps(index))
    rows = pl.read_parquet(tmp_path / "rows.parquet")
    rows.drop("motion2").write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(CorpusError, match="no column motion2"):
        load_corpus(tmp_path)
    broken = rows.with_columns(pl.lit(float("nan"), dtype=pl.Float32).alias("vmaf"))
    broken.write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(CorpusError, match="holds NaN"):
        load_corpus(tmp_path)


def test_packing_keeps_digest_and_rows(corpus_dir, tmp_path):
    """Two files hold the same corpus as the cells."""
    corpus = load_corpus(corpus_dir)
    assert pack(corpus, tmp_path, index_versions(corpus_dir)) == corpus.digest
    assert load_corpus(tmp_path).frames.equals(corpus.frames)


def test_jsonl_round_trip_gives_the_same_rows(corpus_dir, tmp_path):
    """Export and import keep VMAF v0.6.1 and canonical-6 to the last bit of float32; they hold nothing else."""
    corpus = load_corpus(corpus_dir)
    assert write_jsonl(corpus, tmp_path / "rows.jsonl") == 24
    read_jsonl(tmp_path / "rows.jsonl", tmp_path / "back")
    keys = ["source", "encoder", "preset", "rate_value", "frame_index"]
    back = load_corpus(tmp_path / "back")
    before, after = (c.frames.select(*keys, "group", *VALUES).sort(keys) for c in (corpus, back))
    assert before.equals(after)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"vmaf": float("nan")}, "NaN is not a JSON number"),
        ({"vmaf": "high"}, "is not a valid measurement"),
        ({"encoder": "libx999"}, "unknown encoder"),
        ({"frame_index": 5}, "gaps"),
    ],
)
def test_bad_jsonl_lines_are_named(tmp_path, change, reason):
    """Each bad line is refused with its reason, and no index is written."""
    row = {"src": "a", "encoder": "libx264", "cq": 30, "frame_index": 0, "vmaf": 90.0, "adm2": 1.0}
    row |= {f"vif_scale{i}": 0.9 for i in range(4)} | {"motion2": 1.0} | change
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(CorpusError, match=reason):
        read_jsonl(tmp_path / "rows.jsonl", tmp_path / "out")
    assert not (tmp_path / "out" / "corpus.json").exists()


def test_two_builders_on_one_folder(ffmpeg, plan, tmp_path):
    """The second builder is told, the first is not disturbed."""
    first = build_corpus(ffmpeg, plan[0], tmp_path, plan[1], jobs=1)
    next(first)
    with pytest.raises(ConfigError, match="another build is using"):
        next(build_corpus(ffmpeg, plan[0], tmp_path, plan[1], jobs=1))
    list(first)
    assert len(load_corpus(tmp_path).cells) == 4


def test_key_changes_with_source_arguments_and_versions(plan):
    """Another source digest, frame limit, preset, rate or tool version is another cell."""
    from vmaf_assay.corpus.plan import cell_key

    cell = plan[0][0]

    def key(rendition=cell.rendition, preset="ultrafast", rate=25.0, versions=cell.versions):
        return cell_key(rendition, cell.encoder, preset, rate, versions)

    others = [
        key(rendition=replace(cell.rendition, source_sha256="0" * 64)),
        key(rendition=replace(cell.rendition, max_frames=7)),
        key(preset="fast"),
        key(rate=26.0),
        key(versions=cell.versions | {"libx264": "other"}),
    ]
    assert key() == cell.key
    assert len({cell.key, *others}) == 6


def test_manifest_is_checked(clip, tmp_path):
    """A wrong digest, an escaping path and a doubled name are refused."""
    shutil.copy(clip, tmp_path / "clip.mp4")
    entry = {"source": "a", "group": "g", "file": "clip.mp4", "sha256": sha256_file(clip)}

    def write(*entries):
        path = tmp_path / "manifest.json"
        path.write_text(json.dumps({"schema_version": 1, "sources": list(entries)}))
        return path

    (source,) = sources_from_manifest(write(entry))
    assert (source.name, source.group) == ("a", "g")
    with pytest.raises(ConfigError, match="two sources are named"):
        sources_from_manifest(write(entry, entry))
    with pytest.raises(ConfigError, match="leaves the manifest's folder"):
        sources_from_manifest(write(entry | {"file": "../clip.mp4"}))


def test_source_that_differs_from_its_manifest_is_refused(ffmpeg, clip, tmp_path):
    """A source whose bytes changed since the manifest was written is not encoded."""
    shutil.copy(clip, tmp_path / "clip.mp4")
    document = {"schema_version": 1, "sources": [{"source": "a", "file": "clip.mp4", "sha256": "0" * 64}]}
    (tmp_path / "m.json").write_text(json.dumps(document))
    (source,) = sources_from_manifest(tmp_path / "m.json")
    with pytest.raises(IntegrityError, match="is not the file the manifest names"):
        references_of(ffmpeg, source, sizes=[None], max_frames=None)


def test_missing_source_is_one_clear_error(tmp_path):
    """A path that is not there is named."""
    with pytest.raises(MediaError, match="no such file"):
        sources_from_paths([tmp_path / "none.mp4"])


def test_rows_are_float32(corpus_dir):
    """Measured columns are float32, as they are hashed."""
    assert load_corpus(corpus_dir).frames["vmaf"].to_numpy().dtype == np.float32


@pytest.mark.parametrize("name", ["corpus: new", "concat:a|b", "pipe:1", "%03d 'x'"])
def test_a_folder_may_have_any_name(clip, tmp_path, monkeypatch, capsys, name):
    """A folder named like a protocol, a pattern or with quotes is a folder; the next command can be pasted."""
    monkeypatch.chdir(tmp_path)
    argv = [
        "corpus",
        "build",
        str(clip),
        "-e",
        "libx264:ultrafast",
        "--rates",
        "40",
        "--max-frames",
        "2",
        "-o",
        name,
    ]
    assert main(argv) == 0
    assert len(load_corpus(tmp_path / name).cells) == 1
    following = capsys.readouterr().out.splitlines()[-1].partition("next: ")[2]
    assert shlex.split(following) == ["assay", "train", name]
