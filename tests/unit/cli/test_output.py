"""Tables for people: aligned, and safe against what strangers call their things."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from dockwarden.cli.output import table

ROOT = Path(__file__).parents[3]


def test_columns_are_aligned_and_lines_end_where_the_text_ends(capsys: pytest.CaptureFixture[str]) -> None:
    table(("A", "LONGER", "C"), [("x", "y", "last"), ("wider", "z", "")])
    assert capsys.readouterr().out == "A      LONGER  C\nx      y       last\nwider  z\n"


def test_a_table_without_rows_says_so_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    table(("A", "B"), [], empty="nothing was found")
    assert capsys.readouterr() == ("", "nothing was found\n")


def test_control_characters_are_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    table(("NAME", "MESSAGE"), [("a\x1b[2J\nb", "\u202etxt\t\ud800")])
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == 2
    assert r"a\x1b[2J\nb  \u202etxt\t\ud800" in shown


def test_what_is_piped_is_neither_cut_nor_coloured(capsys: pytest.CaptureFixture[str]) -> None:
    table(("SEVERITY", "MESSAGE"), [("critical", "x" * 5000)])
    assert f"critical  {'x' * 5000}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "colored"),
    [
        ({"NO_COLOR": ""}, True),
        ({"NO_COLOR": "1"}, False),
        ({"CLICOLOR": "0"}, False),
        ({"CLICOLOR": "1"}, True),
        ({"TERM": "dumb"}, False),
    ],
)
def test_on_a_terminal_a_row_fits_its_width_and_keeps_its_message(*, given: dict[str, str], colored: bool) -> None:
    message = " ".join(f"word{number}" for number in range(30))
    for name, margin in (("x", 16), ("docker.io/library/a-long-name-of-somebody-who-likes-them-long:1.2.3", 4)):
        rows = [("critical", name, message)]
        code = f"from dockwarden.cli.output import table; table(('SEVERITY', 'NAME', 'MESSAGE'), {rows!r})"
        leader, follower = pty.openpty()
        environment = {**os.environ, "NO_COLOR": "", "CLICOLOR": "", "TERM": "xterm", "COLUMNS": "80", **given}
        subprocess.run([sys.executable, "-c", code], stdout=follower, cwd=ROOT, env=environment, check=True, timeout=60)
        os.close(follower)
        shown = os.read(leader, 65536).decode()
        os.close(leader)
        assert ("\x1b[1;31mcritical" in shown) is colored
        assert not any(line.endswith(" ") for line in shown.splitlines())
        lines = shown.replace("\x1b[1;31m", "").replace("\x1b[0m", "").splitlines()
        assert max(map(len, lines)) <= 80
        assert lines[-1].startswith(" " * margin + "word")
        assert " ".join(" ".join(lines).split()).endswith(f" {name.removeprefix('docker.io/library/')} {message}")


@pytest.mark.parametrize("width", [1, 3, 5])
def test_a_terminal_of_nearly_no_width_still_gets_all_words(width: int) -> None:
    code = (
        "from dockwarden.cli.output import lines, table; table(('A', 'B'), [('x', 'two words')]); lines(['some text'])"
    )
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(width)}
    subprocess.run([sys.executable, "-c", code], stdout=follower, cwd=ROOT, env=environment, check=True, timeout=60)
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert shown.split() == ["A", "B", "x", "two", "words", "some", "text"]
