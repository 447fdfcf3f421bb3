"""A text is there whole or what was there before is; a folder is one process's at a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bimba.errors import InputError
from bimba.files import LOCK_NAME, alone, write_whole

HOLDS = """
import sys
from pathlib import Path
from bimba.files import alone
with alone(Path(sys.argv[1]), "taken.", fix="wait."):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_a_text_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "one\r\ntwo\n")
    write_whole(path, "drei ünd\n")
    assert path.read_bytes() == "drei ünd\n".encode()
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_what_cannot_be_written_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "one")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "two \ud800")
    assert path.read_text() == "one"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_two_writers_do_not_share_a_partial_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "a.txt", []
    monkeypatch.setattr(Path, "replace", lambda partial, _: seen.append(partial.name))
    write_whole(path, "one")
    monkeypatch.setattr(os, "getpid", lambda: 1)
    write_whole(path, "two")
    assert len(set(seen)) == 2


def test_a_folder_is_one_process_s_until_that_ends_however_it_does(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(InputError, match="taken") as caught, alone(folder, "taken.", fix="wait."):
            pass
        assert "wait" in str(caught.value)
        other.kill()
    with alone(folder, "taken.", fix="wait."):
        assert (folder / LOCK_NAME).exists()


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"), alone(tmp_path / "file" / "folder", "", fix=""):
        pass
