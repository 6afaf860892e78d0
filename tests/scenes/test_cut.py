"""Where a title is cut."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from vmaf_assay.scenes.cut import LEAST_FRAMES, LONGEST_S, cut_scenes

TITLES = st.integers(2, 4000).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1), unique=True, max_size=60).map(sorted))
)
RATES = st.sampled_from([Fraction(1), Fraction(24000, 1001), Fraction(25), Fraction(60)])


@given(TITLES, RATES)
def test_every_frame_is_in_exactly_one_part(title, rate):
    """Scenes and their parts follow one another without gap or overlap."""
    n_frames, cuts = title
    scenes = cut_scenes(cuts, n_frames, rate)
    frames = [frame for scene in scenes for part in scene.parts for frame in range(part.first, part.last)]
    assert frames == list(range(n_frames))
    assert [scene.span.first for scene in scenes] == [scene.parts[0].first for scene in scenes]
    assert [scene.span.last for scene in scenes] == [scene.parts[-1].last for scene in scenes]


@given(TITLES, RATES)
def test_scenes_are_long_enough_and_parts_short_enough(title, rate):
    """No part has fewer than 24 frames or more than 10 s, if the title and its rate allow both."""
    n_frames, cuts = title
    for scene in cut_scenes(cuts, n_frames, rate):
        for part in scene.parts:
            length = part.last - part.first
            assert length >= min(LEAST_FRAMES, n_frames)
            assert length <= max(2 * LEAST_FRAMES, LONGEST_S * rate + 1)


@given(TITLES, RATES)
def test_scenes_begin_at_cuts_only(title, rate):
    """A scene begins at the title's first frame or at a cut, and a cut with room around it is taken."""
    n_frames, cuts = title
    begins = [scene.span.first for scene in cut_scenes(cuts, n_frames, rate)]
    assert set(begins) <= {0, *cuts}
    for cut in cuts:
        near = [other for other in [0, *begins, n_frames] if 0 < abs(other - cut) < LEAST_FRAMES or other == cut]
        assert near


def test_a_long_scene_is_cut_evenly():
    """25 s at 25 frames a second are three parts of nearly one length."""
    (scene,) = cut_scenes([0], 625, Fraction(25))
    assert [part.last - part.first for part in scene.parts] == [208, 209, 208]
