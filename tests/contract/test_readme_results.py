"""The generated blocks of README.md and profiles/results/README.md are what the shipped results and records say.

Run as a program, this file writes the blocks anew: `.venv/bin/python tests/contract/test_readme_results.py`.
"""

from pathlib import Path

import hwkd
from hwkd.errors import InputError
from hwkd.files import write_text
from hwkd.measure.bundles import all_shipped_records
from hwkd.report.compare.published import read_published_curves
from hwkd.report.results import glance_table, read_result_files, results_tables, shipped_results
from hwkd.report.table import render

ROOT = Path(hwkd.__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "profiles/results/README.md"
BEGIN = "<!-- results: hwkd compare --results --format md -->\n"
END = "<!-- /results -->\n"
GLANCE_BEGIN, GLANCE_END = "<!-- glance -->\n", "<!-- /glance -->\n"
NONE_YET = "hwkd ships no results yet."


def block(folder):
    """What stands between the marks for the results in `folder`."""
    try:
        files = read_result_files(folder)
    except InputError:
        assert not list(folder.glob("*.json")), "a result is damaged"
        return f"{NONE_YET}\n"
    return "\n\n".join(render(table, "md") for table in results_tables(files, "md")) + "\n"


def glance():
    files = read_result_files(shipped_results())
    table = glance_table(all_shipped_records(), files, read_published_curves())
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
