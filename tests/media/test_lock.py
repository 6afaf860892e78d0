"""Locks between processes."""

import os

import pytest

from vmaf_assay.errors import IntegrityError
from vmaf_assay.media.lock import exclusive


def test_a_lock_keeps_others_out(tmp_path):
    """While one holds it another waits as long as it said; afterwards it is free, and the file stays."""
    path = tmp_path / ".lock"
    with exclusive(path), pytest.raises(TimeoutError), exclusive(path, 0.05):
        pytest.fail("two held it")
    with exclusive(path, 0):
        assert path.is_file()


OTHER_KINDS = {
    "a link to a file": lambda path, other: path.symlink_to(other),
    "a link to nothing": lambda path, other: path.symlink_to(other.with_name("absent")),
    "a folder": lambda path, other: path.mkdir(),
    "a pipe": lambda path, other: os.mkfifo(path),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_a_lock_file_of_another_kind_is_refused(tmp_path, kind):
    """Taking a lock empties its file: a link's target keeps its content, and nothing waits for a pipe."""
    path, other = tmp_path / ".lock", tmp_path / "other"
    other.write_text("content")
    OTHER_KINDS[kind](path, other)
    with pytest.raises(IntegrityError, match=r"lock file .*\.lock is .*remove it"), exclusive(path, 0):
        pytest.fail("locked")
    assert other.read_text() == "content"
    assert not other.with_name("absent").exists()


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    """What the system says is passed on."""
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError), exclusive(tmp_path / "file" / ".lock", 0):
        pytest.fail("locked")
