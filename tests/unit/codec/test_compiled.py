import subprocess
import sys

import numba
import pytest
from numba.core.caching import CacheImpl

from hwkd.codec.compiled import compiled


def double(number):
    return 2 * number


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


def test_machine_code_is_kept_for_the_next_process(cache_folder):
    assert compiled("int64(int64)")(double)(21) == 42
    assert sorted(path.suffix for path in cache_folder.rglob("*.nb*")) == [".nbc", ".nbi"]


@pytest.mark.parametrize("suffix", [".nbc", ".nbi"])
def test_a_damaged_cache_does_not_stop_coding(cache_folder, suffix):
    compiled("int64(int64)")(double)(21)
    for path in cache_folder.rglob(f"*{suffix}"):
        path.write_bytes(path.read_bytes()[:20])
    assert compiled("int64(int64)")(double)(21) == 42


def test_coding_works_where_no_folder_may_be_written_to(monkeypatch):
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    assert compiled("int64(int64)")(double)(21) == 42


def test_a_function_that_does_not_compile_says_so(cache_folder):
    with pytest.raises(numba.core.errors.TypingError):
        compiled("int64(int64)")(lambda number: number + "1")(21)


def test_numba_is_imported_only_when_something_is_coded():
    script = "import sys, hwkd.codec.entropy; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
