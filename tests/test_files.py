"""Files that are the old ones or the new ones, never half."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from vae_gen import OutputError
from vae_gen.internal.files import replacing, replacing_folder, write_file

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions, links and devices")


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_file(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as file:
        file.write(b"half of the new")
        raise RuntimeError
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
    assert path.read_text() == "old"


def test_a_block_that_ends_well_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_file(path, "old")
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


@posix
def test_permissions_and_links_stay_and_a_device_is_not_replaced(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    write_file(path, "old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_file(link, "new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    write_file("/dev/null", "gone")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@posix
def test_a_new_file_has_the_permissions_that_the_umask_gives(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        write_file(tmp_path / "a", "x")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_missing_parent_and_a_folder_in_the_way_are_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as raised:
        write_file(tmp_path / "no" / "a.png", "x")
    parent = tmp_path / "no"
    assert str(raised.value) == (
        f"cannot write {parent / 'a.png'}: there is no folder {parent.resolve()}; create it first"
    )
    with pytest.raises(OutputError, match="it is a folder"):
        write_file(tmp_path, "x")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_an_output_error() -> None:
    with pytest.raises(OutputError, match="cannot write /dev/full: No space left on device"):
        write_file("/dev/full", "x" * 100_000)


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with replacing_folder(target) as folder:
        (folder / "a").write_text("1")
    with pytest.raises(RuntimeError), replacing_folder(target) as folder:
        (folder / "b").write_text("2")
        raise RuntimeError
    assert [entry.name for entry in target.iterdir()] == ["a"]
    with replacing_folder(target) as folder:
        (folder / "b").write_text("2")
    assert [entry.name for entry in target.iterdir()] == ["b"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_a_folder_whose_replacement_and_restoration_both_fail_is_kept_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "a").write_text("1")
    rename, calls = Path.replace, []

    def fails_from_the_second(self: Path, other: Path) -> Path:
        calls.append(other)
        if len(calls) > 1:
            raise OSError(5, "Input/output error")
        return rename(self, other)

    monkeypatch.setattr(Path, "replace", fails_from_the_second)
    with pytest.raises(OutputError, match="the old folder is now in ") as raised, replacing_folder(target):
        pass
    kept = Path(str(raised.value).rsplit(" is now in ", 1)[1])
    assert (kept / "model" / "a").read_text() == "1"
