"""The script that lists long sentences and phrases to avoid."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_words.py"
LONG = "This sentence has " + "one more word and " * 7 + "ends here"


def check(*arguments: object) -> tuple[int, str]:
    """Exit code and output of the script."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", f'"""{LONG}."""\n'),
        ("a.py", f"x = 1  # {LONG}\n"),
        ("a.py", f'raise ValueError(f"{LONG}: {{x}}")\n'),
        ("a.md", f"Short.\n\n- {LONG}\n"),
        ("a.md", f"| a | b |\n|---|---|\n| {LONG} | c |\n"),
        ("a.c", f"/* {LONG}. */\n"),
        ("a.js", f"// {LONG}\n"),
        ("a.md", "The range cannot be meant.\n"),
        ("a.py", '"""It compares\nletter by\nletter."""\n'),
    ],
)
def test_a_new_place_fails(tmp_path, name, text):
    """A long sentence or an avoided phrase is named with file and line, wherever words stand; exit 1."""
    path = tmp_path / name
    path.write_text(text)
    code, printed = check("--known", tmp_path / "none.txt", path)
    assert code == 1
    assert f"{path}:" in printed
    assert "1 to rewrite" in printed


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", '"""One sentence of few words. Another one follows it."""\n'),
        ("a.md", f"```text\n{LONG}\n```\n"),
        ("a.md", "It runs `" + "a b c d e f g h " * 5 + "`.\n"),
        ("a.md", "".join(f"- point {n} is one of many\n" for n in range(9))),
        ("a.py", '"""Shape.\n\n>>> f(1, 2)\n' + "1 " * 50 + '\n"""\n'),
    ],
)
def test_short_sentences_and_code_pass(tmp_path, name, text):
    """Code blocks, inline code, doctests and lists of short points are not long sentences."""
    path = tmp_path / name
    path.write_text(text)
    assert check("--known", tmp_path / "none.txt", path)[0] == 0


def test_known_places_pass_wherever_they_move(tmp_path):
    """A listed sentence passes after it moved to another file; a changed one is new."""
    path, known = tmp_path / "a.md", tmp_path / "known.txt"
    path.write_text(f"{LONG}.\n")
    assert check("--known", known, "--update", path)[0] == 0
    moved = tmp_path / "b.md"
    path.rename(moved)
    moved.write_text(f"# Heading\n\n{LONG}.\n")
    assert check("--known", known, moved)[0] == 0
    assert check("--known", known, "--all", moved)[0] == 1
    moved.write_text(f"{LONG} now.\n")
    assert check("--known", known, moved)[0] == 1
