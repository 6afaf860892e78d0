"""Copies of a source in another group, as people make them: found by their looks; other pictures are not."""

import json
from fractions import Fraction

import numpy as np
import pytest

from tests.conftest import lavfi
from tests.corpus.builds import build_argv, finish
from tests.corpus.conftest import UNLIKE
from vmaf_assay.corpus.looks import looks_bytes, looks_digest, parse_looks
from vmaf_assay.corpus.same_content import alike_across_groups, without_looks
from vmaf_assay.corpus.same_pictures import Looks, closest, shared_pictures
from vmaf_assay.corpus.store import load_corpus, pack
from vmaf_assay.errors import IntegrityError
from vmaf_assay.media import process
from vmaf_assay.media.sync import SIGNATURE_FILTER, read_signatures

FILM = "mandelbrot=size=320x180:rate=25:maxiter=200:start_scale=0.6:end_scale=0.02:end_pts=60"
"""Sixty frames that zoom in fast: no frame is like one ten frames later."""

COPIES = {
    "encoded again at CRF 45": ("null", "45", 0),
    "smaller": ("scale=128:72", "20", 0),
    "cropped by 10 percent": ("crop=288:162", "20", 0),
    "cropped at a corner": ("crop=288:162:0:0", "20", 0),
    "with bars": ("pad=320:224:0:22", "20", 0),
    "brighter, with less contrast": ("eq=brightness=0.1:contrast=0.8", "20", 0),
    "mirrored": ("hflip", "20", 0),
    "from another frame on": ("trim=start_frame=20,setpts=PTS-STARTPTS", "20", 20),
    "at half the frame rate": ("fps=25/2", "20", None),
    "cropped, smaller, later, at CRF 40": (
        "trim=start_frame=20,setpts=PTS-STARTPTS,crop=288:162,scale=160:90",
        "40",
        20,
    ),
}


def looks_of(ffmpeg, path, rate: Fraction = Fraction(25)) -> Looks:
    """The looks of a file, made by plain ffmpeg."""
    done = process.run([*ffmpeg.base_argv(), "-i", str(path), "-vf", SIGNATURE_FILTER, "-f", "rawvideo", "-"])
    assert done.exit_code == 0, done.stderr
    return Looks(read_signatures(done.stdout), rate)


@pytest.fixture(scope="module")
def film(ffmpeg, tmp_path_factory):
    """`ffmpeg -f lavfi -i FILM -frames:v 60 -c:v libx264 -preset ultrafast -crf 10 film.mp4`."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    encode = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "10")
    return lavfi(ffmpeg, path, "-frames:v", "60", *encode, graph=FILM)


def copy_of(ffmpeg, film, path, filters: str, crf: str):
    """The film through a filter, encoded again."""
    encode = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", crf, "-pix_fmt", "yuv420p"]
    done = process.run([*ffmpeg.base_argv(), "-i", str(film), "-vf", filters, *encode, str(path)])
    assert done.exit_code == 0, done.stderr
    return path


@pytest.mark.ffmpeg
@pytest.mark.parametrize("what", COPIES)
def test_a_copy_in_another_group_is_found(ffmpeg, film, tmp_path, what):
    """Whatever was done to it; and the frames named do show the same."""
    filters, crf, later = COPIES[what]
    rate = Fraction(25, 2) if filters == "fps=25/2" else Fraction(25)
    copy = looks_of(ffmpeg, copy_of(ffmpeg, film, tmp_path / "copy.mp4", filters, crf), rate)
    looks = {"film": looks_of(ffmpeg, film), "copy": copy}
    (found,) = shared_pictures(looks, {"film": "f", "copy": "c"})
    assert found.sources == ("copy", "film")
    if later is not None:
        assert abs(found.frames[1] - found.frames[0] - later) <= 3  # in a zoom, a crop is like a later frame
    assert shared_pictures(looks, {"film": "f", "copy": "f"}) == []


@pytest.mark.ffmpeg
def test_other_pictures_are_not_found(ffmpeg, film, tmp_path):
    """Three generated films and the fourth: no pair is near the limit; plain pictures are alike to none."""
    looks = {"film": looks_of(ffmpeg, film)}
    plain = ("color=black:size=160x90:rate=25", "color=gray:size=160x90:rate=25")
    for number, graph in enumerate((*UNLIKE, *plain)):
        path = tmp_path / f"{number}.mp4"
        lavfi(ffmpeg, path, "-frames:v", "30", "-c:v", "libx264", "-preset", "ultrafast", graph=graph)
        looks[str(number)] = looks_of(ffmpeg, path)
    assert shared_pictures(looks, {name: name for name in looks}) == []
    assert closest(looks["0"], looks["film"]) < 0.9


def test_a_still_and_noise_are_apart():
    """Looks drawn at random correlate with nothing; one of them repeated is found though nothing moves."""
    rng = np.random.default_rng(4)
    smooth = [np.kron(rng.integers(0, 255, (6, 8)), np.ones((3, 4))).reshape(1, 576) for _ in range(20)]
    looks = {str(i): Looks(np.repeat(s, 30, axis=0).astype(np.uint8), Fraction(0)) for i, s in enumerate(smooth)}
    assert shared_pictures(looks, {name: name for name in looks}) == []
    again = looks | {"again": Looks(looks["7"].frames[:10], Fraction(0))}
    (found,) = shared_pictures(again, {name: name for name in again})
    assert found.sources == ("7", "again")


def test_looks_are_read_back_as_written():
    """Byte for byte, whatever the values and lengths; anything else is refused."""
    rng = np.random.default_rng(1)
    looks = {name: rng.integers(0, 256, (n, 576), dtype=np.uint8) for name, n in (("b", 3), ("a", 40), ("ä b", 1))}
    data = looks_bytes(looks)
    back = parse_looks(data, where="looks")
    assert {name: looks_digest(frames) for name, frames in back.items()} == {
        name: looks_digest(frames) for name, frames in looks.items()
    }
    with pytest.raises(IntegrityError, match="cannot be read"):
        parse_looks(data[:-20], where="looks")


@pytest.fixture(scope="module")
def pair(ffmpeg, film, tmp_path_factory):
    """A folder with the film, a smaller copy at CRF 45, and something else."""
    folder = tmp_path_factory.mktemp("pair")
    copy_of(ffmpeg, film, folder / "copy.mp4", "scale=160:90", "45")
    lavfi(ffmpeg, folder / "other.mp4", "-frames:v", "24", "-c:v", "libx264", "-preset", "ultrafast")
    copy_of(ffmpeg, film, folder / "film.mp4", "null", "12")
    return folder


@pytest.mark.ffmpeg
def test_a_build_refuses_a_copy_before_it_encodes(pair, tmp_path):
    """Exit 2 with both names, no cell measured; with `--join-same` one group holds both, and verify agrees."""
    argv = build_argv(pair, tmp_path / "corpus")
    code, _, err = finish(argv)
    assert code == 2
    assert "copy (group copy) and film (group film) show the same" in err
    assert "--join-same" in err
    assert not (tmp_path / "corpus" / "cells").exists()
    code, _, err = finish([*argv, "--join-same"])
    assert code == 0, err
    assert "both are in group copy now" in err
    corpus = load_corpus(tmp_path / "corpus")
    assert {cell.source: cell.group for cell in corpus.cells} == {"copy": "copy", "film": "copy", "other": "other"}
    assert alike_across_groups(corpus) == []
    assert without_looks(corpus) == []


@pytest.mark.ffmpeg
def test_verify_finds_what_the_build_could_not_see(pair, tmp_path):
    """A corpus whose groups were named apart afterwards is refused; packed as well; without looks it says so."""
    manifest = {"schema_version": 1, "sources": []}
    for name in ("copy", "film", "other"):
        group = "g" if name != "other" else "o"
        manifest["sources"].append({"source": name, "file": f"{name}.mp4", "group": group})
    (pair / "manifest.json").write_text(json.dumps(manifest))
    argv = build_argv(pair, tmp_path / "corpus")
    argv[argv.index(str(pair))] = f"--manifest={pair / 'manifest.json'}"
    code, _, err = finish(argv)
    assert code == 0, err
    corpus = load_corpus(tmp_path / "corpus")
    split = tuple(
        cell if cell.source != "copy" else type(cell)(**{**_fields(cell), "group": "c"}) for cell in corpus.cells
    )
    apart = type(corpus)(corpus.digest, split, corpus.frames, corpus.looks)
    pack(apart, tmp_path / "apart", {})
    verify = [*argv[:3], "corpus", "verify"]
    code, _, err = finish([*verify, str(tmp_path / "apart")])
    assert code == 2
    assert "show the same" in err
    index = json.loads((tmp_path / "corpus" / "corpus.json").read_text())
    shown = tmp_path / "corpus" / index.pop("looks")
    shown.write_bytes(shown.read_bytes()[:-1])
    code, _, err = finish([*verify, str(tmp_path / "corpus")])
    assert (code, "is damaged" in err) == (4, True)
    (tmp_path / "corpus" / "corpus.json").write_text(json.dumps(index))
    code, out, err = finish([*verify, str(tmp_path / "corpus")])
    assert code == 0, err
    assert "no looks of 3 sources" in out
    code, _, err = finish(argv)
    assert code == 0, err
    assert without_looks(load_corpus(tmp_path / "corpus")) == []


def _fields(cell) -> dict[str, object]:
    return {name: getattr(cell, name) for name in type(cell).__dataclass_fields__}
