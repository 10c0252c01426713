"""Files that are the old ones or the new ones, never half."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vae_gen import ModelError, OutputError, find_model
from vae_gen.internal.files import check_folder_can_be_made, filling_folder, replacing, replacing_folder, write_file

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
def test_a_file_that_is_read_only_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("old")
    path.chmod(0o444)
    with pytest.raises(OutputError, match="the file is read-only; choose another name, or make it writable first$"):
        write_file(path, "new")
    with pytest.raises(OutputError, match="a.png: the file is read-only"), filling_folder(tmp_path) as folder:
        for name in ("0.png", "a.png"):
            (folder / name).write_text("new")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("a.png", "old")]


@posix
@pytest.mark.parametrize("size", [2, 100_000])
def test_a_file_that_can_be_written_but_not_renamed_over_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """As a mounted file is; `test_full_disks.py` has a folder that is read-only."""
    path = tmp_path / "a"
    path.write_bytes(b"old" * 10)
    number = path.stat().st_ino

    def busy(self: Path, other: Path) -> Path:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    write_file(path, bytes(size))
    assert path.read_bytes() == bytes(size)
    assert path.stat().st_ino == number
    with pytest.raises(OutputError, match="Device or resource busy"):
        write_file(tmp_path / "new", b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make a link of another user")
def test_a_link_of_another_user_in_a_shared_folder_is_not_followed(tmp_path: Path) -> None:
    shared, victim = tmp_path / "tmp", tmp_path / "victim"
    shared.mkdir()
    shared.chmod(0o1777)
    victim.write_text("dear")
    (shared / "a.png").symlink_to(victim)
    write_file(shared / "a.png", "new")
    assert victim.read_text() == "new"
    os.chown(shared / "a.png", 12345, -1, follow_symlinks=False)
    for writes in (lambda: write_file(shared / "a.png", "other"), lambda: write_file(tmp_path / "way", "other")):
        (tmp_path / "way").unlink(missing_ok=True)
        (tmp_path / "way").symlink_to(shared / "a.png")
        with pytest.raises(OutputError, match="a.png is a link that another user has made"):
            writes()
    assert victim.read_text() == "new"
    shared.chmod(0o755)  # where others can't put links
    write_file(shared / "a.png", "newer")
    assert victim.read_text() == "newer"


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
    with pytest.raises(RuntimeError), replacing_folder(target, accept) as folder:
        (folder / "b").write_text("2")
        raise RuntimeError
    assert [entry.name for entry in target.iterdir()] == ["a"]
    with replacing_folder(target, accept) as folder:
        (folder / "b").write_text("2")
    assert [entry.name for entry in target.iterdir()] == ["b"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def accept(folder: Path) -> None:
    """Lets any folder be replaced."""


def refuse(folder: Path) -> None:
    raise OutputError(f"expected no {sorted(entry.name for entry in folder.iterdir())}")


def appears(target: Path) -> None:
    target.mkdir(exist_ok=True)
    (target / "thesis.tex").write_text("dear")


def test_a_folder_that_appears_meanwhile_is_not_lost(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with pytest.raises(OutputError, match="a folder with files appeared there"), replacing_folder(target):
        appears(target)
    with pytest.raises(OutputError, match=r"expected no \['thesis.tex'\]"), replacing_folder(target, refuse):
        appears(target)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} == {"model", "model/thesis.tex"}


def test_an_empty_folder_that_appears_meanwhile_is_no_hindrance_and_a_file_is_one(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "model") as folder:
        (folder / "a").write_text("1")
        (tmp_path / "model").mkdir()
    assert (tmp_path / "model" / "a").exists()
    with pytest.raises(OutputError), replacing_folder(tmp_path / "other") as folder:
        (folder / "a").write_text("1")
        (tmp_path / "other").write_text("dear")
    assert (tmp_path / "other").read_text() == "dear"
    assert len(list(tmp_path.iterdir())) == 2


def test_two_that_fill_the_same_new_folder_at_once_lose_no_file(tmp_path: Path) -> None:
    target = tmp_path / "shard"
    with filling_folder(target) as first:
        (first / "0").write_text("0")
        with filling_folder(target) as second:
            (second / "1").write_text("1")
        appears(target)
    assert sorted(path.name for path in target.iterdir()) == ["0", "1", "thesis.tex"]
    assert [path.name for path in tmp_path.iterdir()] == ["shard"]


def test_a_trial_leaves_nothing_behind_and_names_what_is_in_the_way(tmp_path: Path) -> None:
    check_folder_can_be_made(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="a file of that name is in the way"):
        check_folder_can_be_made(tmp_path / "file")
    with pytest.raises(OutputError, match="there is no folder .*; create it first"):
        check_folder_can_be_made(tmp_path / "no" / "model")


def test_a_folder_whose_replacement_and_restoration_both_fail_is_kept_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "a").write_text("1")
    rename, calls = Path.replace, []

    def fails_from_the_third(self: Path, other: Path) -> Path:
        calls.append(other)
        if len(calls) > 2:
            raise OSError(5, "Input/output error")
        return rename(self, other)

    monkeypatch.setattr("ctypes.CDLL", None)  # a system without the call that exchanges two folders
    monkeypatch.setattr(Path, "replace", fails_from_the_third)
    with pytest.raises(OutputError, match="the old folder is now in ") as raised, replacing_folder(target, accept):
        pass
    kept = Path(str(raised.value).rsplit(" is now in ", 1)[1])
    assert (kept / "model" / "a").read_text() == "1"


def kill_while_writing(code: str, folder: Path) -> None:
    """Starts a process that begins to write and then kills itself."""
    script = f"import os, signal; from pathlib import Path; from vae_gen.internal.files import *\n{code}\n"
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, check=False)
    assert done.returncode == -signal.SIGKILL


KILL = "os.kill(os.getpid(), signal.SIGKILL)"


@posix
def test_what_a_killed_process_left_is_removed_when_the_output_is_written_again(tmp_path: Path) -> None:
    kill_while_writing(f"with replacing('a.npy') as file: file.write(b'x'); file.flush(); {KILL}", tmp_path)
    kill_while_writing(f"with filling_folder('new') as folder: (folder / 'x').touch(); {KILL}", tmp_path)
    (tmp_path / "there").mkdir()
    kill_while_writing(f"with filling_folder('there') as folder: (folder / 'x').touch(); {KILL}", tmp_path)
    assert len(list(tmp_path.rglob(".*.part"))) == 3
    (tmp_path / ".a.npy.mine.part").touch()
    write_file(tmp_path / "a.npy", "new")
    for name in ("new", "there"):
        with filling_folder(tmp_path / name) as folder:
            (folder / "y").touch()
    assert [path.name for path in tmp_path.rglob(".*")] == [".a.npy.mine.part"]
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["y", "y"]


@posix
def test_files_that_were_not_moved_yet_when_a_process_was_killed_are_moved_by_the_next(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / "f").mkdir(exist_ok=True)
        (tmp_path / "f" / name).write_text("old")
    stop = f"move = Path.replace\ndef second(a, b): {KILL} if a.name == 'b' else move(a, b)\nPath.replace = second\n"
    fill = "with filling_folder('f') as folder: [(folder / name).write_text('new') for name in 'abc']"
    kill_while_writing(stop + fill, tmp_path)
    read = {path.name: path.read_text() for path in (tmp_path / "f").glob("?")}
    assert read == {"a": "new", "b": "old", "c": "old"}
    with filling_folder(tmp_path / "f") as folder:
        (folder / "d").write_text("new")
    assert {path.name: path.read_text() for path in (tmp_path / "f").iterdir()} == dict.fromkeys("abcd", "new")


def test_an_interruption_while_files_move_waits_until_all_have_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "c").write_text("old")
    rename, calls = Path.replace, []

    def interrupted(self: Path, other: Path) -> Path:
        calls.append(other)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return rename(self, other)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), filling_folder(tmp_path / "f") as folder:
        for name in "abc":
            (folder / name).write_text("new")
    assert {path.name: path.read_text() for path in (tmp_path / "f").iterdir()} == dict.fromkeys("abc", "new")


def test_files_that_cannot_be_moved_stay_and_are_named(tmp_path: Path) -> None:
    (tmp_path / "f" / "b").mkdir(parents=True)  # in the place of a file
    moved = pytest.raises(OutputError, match="the rest of its new files is in ")
    with moved as raised, filling_folder(tmp_path / "f") as folder:
        for name in "abc":
            (folder / name).write_text("new")
    (left,) = (tmp_path / "f").glob(".*")
    assert str(left) in str(raised.value)
    (tmp_path / "f" / "b").rmdir()
    with filling_folder(tmp_path / "f"):
        pass
    assert sorted(path.name for path in (tmp_path / "f").iterdir()) == ["a", "b", "c"]


@posix
def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with replacing(path) as one:
        one.write(b"one")
        with filling_folder(tmp_path / "f") as folder:
            (folder / "1").touch()
            with filling_folder(tmp_path / "f") as other:
                (other / "2").touch()
            write_file(path, "two")
    assert path.read_bytes() == b"one"
    assert sorted(file.name for file in (tmp_path / "f").iterdir()) == ["1", "2"]


@posix
def test_a_model_that_was_moved_out_of_the_way_by_a_killed_process_comes_back(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "old").touch()
    accept = f"import ctypes; ctypes.CDLL = None  # a system that can't exchange folders\ndef accept(folder): {KILL}"
    kill_while_writing(f"{accept}\nwith replacing_folder('m', accept) as new: (new / 'x').touch()", tmp_path)
    assert not (tmp_path / "m").exists()
    with pytest.raises(ModelError, match=r"the model is now \S+/\.m\.\w{8}\.old/m; move it back$"):
        find_model(tmp_path / "m")
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "m", lambda folder: None):
        assert (tmp_path / "m" / "old").exists()
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.skipif(sys.platform != "linux", reason="the call that exchanges two folders is Linux's")
def test_there_is_a_model_at_every_moment_of_its_replacement(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "old").touch()
    with pytest.raises(OutputError, match=r"expected no \['old'\]"), replacing_folder(tmp_path / "m", refuse) as new:
        (new / "x").touch()
    assert [path.name for path in tmp_path.glob("*/*")] == ["old"]
    accept = f"def accept(folder): {KILL}"
    kill_while_writing(f"{accept}\nwith replacing_folder('m', accept) as new: (new / 'x').touch()", tmp_path)
    assert [path.name for path in tmp_path.glob("m/*")] == ["x"]
    check_folder_can_be_made(tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_an_empty_folder_is_filled_and_stays_the_same_folder(tmp_path: Path) -> None:
    target = tmp_path / "empty"
    target.mkdir()
    before = target.stat().st_ino
    with replacing_folder(target) as folder:
        (folder / "model").mkdir()
        (folder / "a").touch()
    assert target.stat().st_ino == before
    assert sorted(path.name for path in target.iterdir()) == ["a", "model"]


@pytest.mark.parametrize("there", [True, False])
def test_files_that_appear_meanwhile_are_kept(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "f"
    if there:
        target.mkdir()
    with pytest.raises(OutputError, match="a folder with files appeared there"), replacing_folder(target) as folder:
        (folder / "a").touch()
        target.mkdir(exist_ok=True)
        (target / "thesis.tex").write_text("p")
    assert [path.name for path in target.iterdir()] == ["thesis.tex"]
    with filling_folder(tmp_path / "g") as folder:
        (folder / "a").touch()
        (tmp_path / "g").mkdir()
        (tmp_path / "g" / "notes.txt").write_text("p")
    assert sorted(path.name for path in (tmp_path / "g").iterdir()) == ["a", "notes.txt"]


def test_a_folder_that_another_process_takes_for_a_left_over_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, opened = [], os.open

    def open_late(path: str | os.PathLike[str], *given: object, **named: object) -> int:
        if not taken and str(path).endswith(".part"):
            taken.append(path)
            Path(path).rmdir()
        return opened(path, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", open_late)
    with filling_folder(tmp_path / "new") as folder:
        (folder / "picture.png").write_bytes(b"1")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["new", "new/picture.png"]
    assert len(taken) == 1
