"""The generated blocks of README.md and profiles/results/README.md are what the shipped results and records say.

Run as a program, this file writes the blocks anew: `.venv/bin/python tests/contract/test_readme_results.py`.
"""

from collections.abc import Sequence
from pathlib import Path

import hwkd
from hwkd.errors import InputError
from hwkd.files import write_text
from hwkd.measure.bundles import all_shipped_records
from hwkd.measure.equal_psnr import CodecAtPsnr, EqualPsnr, read_equal_psnr
from hwkd.measure.record import Record
from hwkd.quantity import NA, Quantity, three_digits
from hwkd.report.compare.rows import SettingFilter, compare
from hwkd.report.results import read_result_files, results_tables, shipped_results
from hwkd.report.table import Table, render
from hwkd.runtime.bundle import BUNDLE_SUFFIX

ROOT = Path(hwkd.__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "profiles/results/README.md"
EQUAL_PSNR = ROOT / "profiles/results/bench/at-34-db.json"
BEGIN = "<!-- results: hwkd compare --results --format md -->\n"
END = "<!-- /results -->\n"
GLANCE_BEGIN, GLANCE_END = "<!-- glance -->\n", "<!-- /glance -->\n"
BOARDS = ("raspberry-pi-4", "raspberry-pi-5", "jetson-orin-nano")
"""Whose predictions are shown: a slow processor, a faster one, a GPU with int8."""
AGAINST = "WebP"
NONE_YET = "hwkd ships no results yet."


def block(folder):
    """What stands between the marks for the results in `folder`."""
    try:
        files = read_result_files(folder)
    except InputError:
        assert not list(folder.glob("*.json")), "a result is damaged"
        return f"{NONE_YET}\n"
    return "\n\n".join(render(table, "md") for table in results_tables(files, "md")) + "\n"


def glance_table(records: Sequence[Record], equal: EqualPsnr) -> Table:
    """A row for each codec of `equal`, and for those that are bundles the decoding times predicted by `records`."""
    (against,) = (row.stream_bytes.value for row in equal.rows if row.name == AGAINST)
    rows = tuple(
        (
            row.name,
            f"{row.stream_bytes.value:,.0f}",
            "0" if row.name == AGAINST else f"{100 * (row.stream_bytes.value / against - 1):+.0f}",
            three_digits(row.encode_ms.value),
            three_digits(row.decode_ms.value),
            *(_predicted(records, row, board) for board in BOARDS),
        )
        for row in equal.rows
    )
    db = f"{equal.psnr_db:g} dB"
    columns = (
        "codec",
        f"bytes at {db}",
        f"against {AGAINST}, %",
        "encode_ms",
        "decode_ms",
        *(f"decode_ms on {board} ({_runtime(records, board)}), predicted" for board in BOARDS),
    )
    models = " ".join(row.name for row in equal.rows if row.is_bundle)
    settings = ", ".join(dict.fromkeys(row.setting for row in equal.rows if row.is_bundle))
    spread = max(_spread_percent(q) for row in equal.rows for q in (row.encode_ms, row.decode_ms))
    notes = (
        f"bytes, encode_ms, decode_ms: measured in one run (`hwkd bench {models} --psnr {equal.psnr_db:g}`), means over {equal.images} at a mean "
        f"PSNR of {db}; one thread each, bundles in {settings}, entropy coding included; {equal.host.split(',')[0]}. The medians' intervals "
        f"(95 %) end within {spread:.0f} %. {_setting_note(equal)}",
        "predicted: from bytes to pixels for one image of 768x512, with the interval (90 %); "
        f"{NA}: hwkd predicts its own models only.",
    )
    return Table("", columns, rows, notes)


def _setting_note(equal: EqualPsnr) -> str:
    return next(note for note in equal.notes if note.startswith("JPEG with"))


def _spread_percent(q: Quantity) -> float:
    assert None not in (q.value, q.low, q.high)
    return 100 * max(q.value - q.low, q.high - q.value) / q.value


def _predicted(records: Sequence[Record], row: CodecAtPsnr, board: str) -> str:
    if not row.is_bundle:
        return NA
    name = f"{row.name}{BUNDLE_SUFFIX}"
    found = [record for record in records if (record.model.name, record.target) == (name, board)]
    (compared,) = compare(found, SettingFilter()).rows
    q = compared.entry("latency_ms", "decode", "end_to_end").quantity
    assert q.found == "predicted"
    return f"{three_digits(q.value)} ({three_digits(q.low)} to {three_digits(q.high)})"


def _runtime(records: Sequence[Record], board: str) -> str:
    found = [record for record in records if record.target == board]
    return compare(found[:1], SettingFilter()).rows[0].setting.runtime


def glance():
    table = glance_table(all_shipped_records(), read_equal_psnr(EQUAL_PSNR))
    return render(table, "md") + "\n"


def parts(text, begin=BEGIN, end=END):
    """What stands before, between and after the marks, which are there once."""
    assert text.count(begin) == text.count(end) == 1
    before, _, rest = text.partition(begin)
    held, _, after = rest.partition(end)
    return before, held, after


def refresh():
    before, _, after = parts(RESULTS.read_text(encoding="utf-8"))
    write_text(RESULTS, before + BEGIN + block(shipped_results()) + END + after)
    before, _, after = parts(README.read_text(encoding="utf-8"), GLANCE_BEGIN, GLANCE_END)
    write_text(README, before + GLANCE_BEGIN + glance() + GLANCE_END + after)


def test_the_page_of_results_holds_the_shipped_ones():
    _, held, _ = parts(RESULTS.read_text(encoding="utf-8"))
    assert held == block(shipped_results()), (
        "profiles/results/README.md is not what profiles/results/ says: run .venv/bin/python tests/contract/test_readme_results.py"
    )


def test_the_readme_holds_what_ships_at_a_glance():
    _, held, _ = parts(README.read_text(encoding="utf-8"), GLANCE_BEGIN, GLANCE_END)
    assert held == glance(), (
        "README.md is not what profiles/ says: run .venv/bin/python tests/contract/test_readme_results.py"
    )


def test_without_results_the_block_says_so(tmp_path):
    assert block(tmp_path) == block(tmp_path / "none") == "hwkd ships no results yet.\n"


def test_the_block_is_what_the_command_prints(tmp_path, capsys):
    from hwkd.cli.main import main

    (tmp_path / "a.json").write_text('{"results": {"psnr-rgb": [30, 34], "bpp": [0.3, 0.8]}}')
    assert main(["compare", "--results", str(tmp_path), "--format", "md"]) == 0
    assert capsys.readouterr().out == block(tmp_path)


if __name__ == "__main__":
    refresh()
