import sqlite3

import pytest

import hwkd.search.storage as storage
from hwkd.errors import InputError
from hwkd.search.storage import open_storage, storage_errors


def test_an_sqlite_file_that_another_program_holds_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "LOCK_WAIT_S", 0.1)
    path = tmp_path / "study.db"
    open_storage(str(path), must_exist=False)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        locked = pytest.raises(InputError, match=r"study\.db is locked: another program has held")
        with locked, storage_errors(str(path)):
            open_storage(str(path), must_exist=True).get_all_studies()
    finally:
        holder.close()


def test_a_file_that_is_no_database_is_one_line(tmp_path):
    path = tmp_path / "photo.db"
    path.write_bytes(b"not a database " * 100)
    with pytest.raises(InputError, match=r"photo\.db is not an SQLite database"):
        open_storage(str(path), must_exist=True)


def test_a_journal_that_is_none_is_one_line(tmp_path):
    path = tmp_path / "notes.log"
    path.write_text("what I did today\nand yesterday\n")
    with pytest.raises(InputError, match=r"notes\.log is not a journal of a study"):
        open_storage(str(path), must_exist=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("study.txt", r"--study .*study\.txt is no place for a study: give FILE\.db"),
        ("study.db", r"there is no study in .*study\.db: start it with `hwkd fit"),
    ],
)
def test_what_is_no_study_is_refused(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        open_storage(str(tmp_path / name), must_exist=True)
    assert not list(tmp_path.iterdir())


def test_a_url_that_nothing_can_open_is_one_line():
    with pytest.raises(InputError, match="cannot use the study nonsense://host"):
        open_storage("nonsense://host/db", must_exist=False)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot use the study"):
        open_storage(str(tmp_path / "file/study.db"), must_exist=False)
