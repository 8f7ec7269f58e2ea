import ctypes
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from hwkd.measure.allocator import keep_memory

KEPT, USUAL = "freed memory kept by malloc", "memory as malloc handles it"


@pytest.fixture
def libc(monkeypatch):
    """A C library that notes what mallopt is asked for. answers: what mallopt returns, for each call."""
    fake = SimpleNamespace(calls=[], answers=[1, 1])

    def mallopt(parameter, value):
        fake.calls.append((parameter, value))
        return fake.answers[len(fake.calls) - 1]

    fake.mallopt = mallopt
    monkeypatch.setattr("hwkd.measure.allocator.sys", SimpleNamespace(platform="linux"))
    monkeypatch.setattr("hwkd.measure.allocator.ctypes.CDLL", lambda name: fake)
    return fake


def test_no_block_is_mapped_and_the_heap_is_never_trimmed(libc):
    assert keep_memory() == KEPT
    # malloc.h of glibc: M_TRIM_THRESHOLD is -1, M_MMAP_MAX is -4.
    assert libc.calls == [(-4, 0), (-1, 2**31 - 1)]


@pytest.mark.parametrize("answers", [[0, 1], [1, 0]])
def test_a_malloc_that_refuses_is_told(libc, answers):
    libc.answers = answers
    assert keep_memory() == USUAL


def test_another_c_library_is_left_alone(libc, monkeypatch):
    del libc.mallopt
    assert keep_memory() == USUAL

    def missing(name):
        raise OSError(name)

    monkeypatch.setattr("hwkd.measure.allocator.ctypes.CDLL", missing)
    assert keep_memory() == USUAL


def test_another_system_is_left_alone(libc, monkeypatch):
    monkeypatch.setattr("hwkd.measure.allocator.sys", SimpleNamespace(platform="darwin"))
    assert keep_memory() == USUAL
    assert libc.calls == []


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
@pytest.mark.parametrize(("call", "kept"), [("keep_memory()", True), ("None", False)])
def test_a_freed_block_stays_with_the_process(call, kept):
    program = (
        "import ctypes, re\n"
        "from hwkd.measure.allocator import keep_memory\n"
        f"{call}\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]\n"
        "block = libc.malloc(2**27)\n"
        "ctypes.memset(block, 1, 2**27)\n"
        "libc.free(block)\n"
        "print(re.search(r'VmRSS:\\s*(\\d+) kB', open('/proc/self/status').read()).group(1))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (int(done.stdout) > 2**27 / 1024) == kept, done.stderr


def test_the_real_library_is_asked_by_its_own_name(monkeypatch):
    names = []
    monkeypatch.setattr("hwkd.measure.allocator.sys", SimpleNamespace(platform="linux"))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: names.append(name) or SimpleNamespace())
    keep_memory()
    assert names == ["libc.so.6"]
