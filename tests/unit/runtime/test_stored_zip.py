import io
import zipfile

from hwkd.runtime.stored_zip import write_zip


def test_entries_are_stored_sorted_and_of_one_time():
    file = io.BytesIO()
    write_zip(file, {"b": b"two" * 100, "a": b"one"})
    with zipfile.ZipFile(file) as made:
        held = [
            (e.filename, e.date_time, e.compress_type, e.compress_size, e.create_system)
            for e in made.infolist()
        ]
        assert made.read("b") == b"two" * 100
    time = (1980, 1, 1, 0, 0, 0)
    assert held == [("a", time, zipfile.ZIP_STORED, 3, 3), ("b", time, zipfile.ZIP_STORED, 300, 3)]
