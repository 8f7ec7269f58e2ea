from dataclasses import replace

import pytest

from hwkd.errors import InputError
from hwkd.measure.record import Size
from hwkd.models.spec import HyperpriorSpec, PatchSpec, spec_to_json
from hwkd.report.compare.paper import paper_sheets
from hwkd.report.compare.published import read_paper
from hwkd.report.compare.rows import compare
from hwkd.report.compare.sheet import for_machines, for_people

KODAK = {"width": 768, "height": 512}


@pytest.fixture
def teacher(make_record):
    return make_record("ours-128", 128, size=Size(5_000_000, 0, 0, 0), **KODAK)


@pytest.fixture
def student(make_record):
    return make_record("ours-32", 32, size=Size(1_000_000, 0, 0, 0), **KODAK)


def rows_of(table):
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_the_shipped_rows_are_those_of_the_papers_tables():
    paper = read_paper()
    assert [(r.N, r.parameters_m, r.memory_mib, r.gmacs) for r in paper.rows] == [
        (128, 5.08, 20.18, 34.24),
        (112, 4.07, 15.53, 26.70),
        (96, 3.17, 12.11, 20.10),
        (64, 1.69, 6.46, 9.67),
        (32, 0.64, 2.43, 2.98),
        (16, 0.27, 1.01, 1.02),
    ]
    assert [(r.fps, r.energy_mj, r.psnr_db, r.bpp) for r in paper.rows] == [
        (184.20, 1767.85, 34.53, 0.67),
        (209.01, 1600.41, 34.44, 0.66),
        (231.61, 1416.34, 34.41, 0.66),
        (232.47, 1164.17, 34.11, 0.66),
        (231.90, 699.18, 32.71, 0.60),
        (233.63, 684.45, 29.98, 0.45),
    ]
    assert "2509.10366" in paper.source and "RTX 3090" in paper.measured_on


@pytest.mark.parametrize(
    "spec",
    [
        HyperpriorSpec("relu", (32, 32, 32), 192, 32, 32),
        HyperpriorSpec("gdn", (32, 32, 48), 192, 32, 32),
        HyperpriorSpec("gdn", (32, 32, 32), 128, 32, 32),
        HyperpriorSpec("gdn", (32, 32, 32), 192, 64, 32),
        HyperpriorSpec("gdn", (48, 48, 48), 192, 48, 48),
        PatchSpec(M=192, H=32, Z=32, C=96, widths=(96,), post=()),
    ],
    ids=str,
)
def test_only_the_papers_architectures_have_a_row(student, spec):
    paper = read_paper()
    assert paper.row_for(student) == paper.rows[4]
    other = replace(student, model=replace(student.model, spec=spec_to_json(spec)))
    assert paper.row_for(other) is None


def test_each_change_is_against_its_own_first_row(teacher, student):
    size, throughput, energy = paper_sheets(compare((teacher, student)), read_paper())
    rows = rows_of(for_people(size))
    assert (rows["ours-128"]["parameters_m"], rows["ours-128"]["paper_parameters_m"]) == (
        *("5.000", "5.08"),
    )
    # 0.64 / 5.08 - 1 is -87.4 %.
    assert (rows["ours-32"]["parameters_m"], rows["ours-32"]["paper_parameters_m"]) == (
        *("1.000 (-80.0 %)", "0.64 (-87.4 %)"),
    )
    assert rows["ours-32"]["paper_psnr_db"] == "32.71 (-1.82 dB)"
    # 231.90 / 184.20 is 1.259, 699.18 / 1767.85 is 0.3955.
    assert rows_of(for_people(throughput))["ours-32"]["paper_fps"] == "231.90 (+25.9 %)"
    assert rows_of(for_people(energy))["ours-32"]["paper_total_mj"] == "699.18 (-60.5 %)"


def test_rows_of_the_paper_without_ours_follow_with_ours_na(teacher, student):
    table = for_people(paper_sheets(compare((teacher, student)), read_paper())[1])
    assert [row[0] for row in table.rows] == [
        *("ours-128", "ours-32", "paper: student N=112", "paper: student N=96"),
        *("paper: student N=64", "paper: student N=16"),
    ]
    row = rows_of(table)["paper: student N=64"]
    assert (row["target"], row["fps"], row["paper_fps"]) == ("n/a", "n/a", "232.47 (+26.2 %)")
    assert any(note.startswith('Rows "paper: ..." are the paper\'s alone') for note in table.notes)


def test_a_row_of_ours_without_the_papers_is_na_there(teacher, student):
    spec = spec_to_json(PatchSpec(M=192, H=32, Z=32, C=96, widths=(96,), post=()))
    patch = replace(student, model=replace(student.model, name="patch", spec=spec))
    table = for_people(paper_sheets(compare((teacher, patch)), read_paper())[0])
    row = rows_of(table)["patch"]
    assert (row["parameters_m"], row["paper_parameters_m"]) == ("1.000 (-80.0 %)", "n/a")


def test_the_notes_say_where_the_published_figures_come_from(teacher):
    for sheet in paper_sheets(compare((teacher,)), read_paper()):
        (note,) = (n for n in sheet.notes if n.startswith("paper_...: published by "))
        assert "arXiv 2509.10366v1" in note
        assert "measured by its authors on RTX 3090 with Zeus" in note
        assert "Changes are against its own teacher N=128." in note


def test_another_architecture_in_our_first_row_is_told(teacher, student):
    def is_told(*records):
        sheet = paper_sheets(compare(records), read_paper())[0]
        return any("changes are against different models" in note for note in sheet.notes)

    assert is_told(student, teacher)
    assert not is_told(teacher, student)


def test_machines_see_that_a_figure_was_published(teacher):
    table = for_machines(paper_sheets(compare((teacher,)), read_paper())[1])
    row = rows_of(table)["ours-128"]
    assert (row["paper_fps"], row["paper_fps_percent"], row["paper_fps_found"]) == (
        *("184.2", "0", "published"),
    )
    assert row["fps_found"] == "measured"


def test_another_image_size_is_refused(make_record):
    with pytest.raises(InputError) as caught:
        paper_sheets(compare((make_record(),)), read_paper())
    assert str(caught.value) == (
        "the paper's figures are of images of 768x512, the records of 1000x1000: add --per-pixel, or profile with "
        "--size 768x512"
    )


def test_per_pixel_divides_the_published_figures_too(make_record):
    compared = compare((make_record(),), is_per_pixel=True)
    _, throughput, energy = paper_sheets(compared, read_paper())
    row = rows_of(for_machines(throughput))["teacher"]
    # An image of 768x512 has 0.393216 megapixels.
    assert float(row["paper_mpx_per_s"]) == pytest.approx(184.20 * 0.393216)
    assert float(row["paper_total_kmac_per_pixel"]) == pytest.approx(34.24e6 / 393216)
    row = rows_of(for_machines(energy))["teacher"]
    assert float(row["paper_total_mj_per_mpx"]) == pytest.approx(1767.85 / 0.393216)
