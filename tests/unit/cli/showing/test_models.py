from dataclasses import replace

import pytest

from hwkd.cli.showing.models import bundles_table, teachers_table
from hwkd.models.shipped import WeightsCard
from hwkd.models.spec import PatchSpec
from hwkd.runtime.bundle import read_bundle
from hwkd.runtime.manifest import Card, SetFigures

CARD = Card(
    data="9 photographs",
    licence="CC0",
    teacher=None,
    start=None,
    seed=0,
    float_steps=1,
    quantized_steps=1,
    hours=1.0,
    hardware="2 cores",
    recipe=None,
    limits=(),
    figures=(SetFigures("kodak", 24, "openvino 2026", 34.256, 0.98, 0.7504, 1.5),),
)
TEACHER = WeightsCard(
    name="big",
    file="big.safetensors",
    spec=PatchSpec(M=12, H=8, Z=8, C=16, widths=(16,), post=(8,)),
    lmbda=0.025,
    steps=13000,
    training="Adam",
    hours=None,
    hardware="one GPU",
    data="9 photographs",
    licence="CC0",
    limits=("One rate.",),
    kodak_psnr_db=34.1,
    kodak_bpp=None,
    sha256="0" * 64,
)


@pytest.fixture
def bundle(tiny_bundle):
    """bundle(CARD): a tiny bundle with this card."""
    held = read_bundle(tiny_bundle)
    return lambda card: replace(held, manifest=replace(held.manifest, card=card))


def row(table, index=0):
    return dict(zip(table.columns, table.rows[index], strict=True))


def test_a_bundle_has_its_row(bundle):
    table = bundles_table([("small", bundle(CARD), 3 * 2**19)])
    found = row(table)
    del found["kmac_per_pixel"]  # below
    assert found == {
        "model": "small",
        "family": "patch",
        "architecture": "patch M=12 H=8 Z=8 C=16 widths=16 post=8",
        "lmbda": "0.0250",
        "bits": "7 / 8",
        "size_mib": "1.50",
        "kodak_psnr_db": "34.26",
        "kodak_bpp": "0.750",
    }


def test_kmac_per_pixel_counts_each_network_once(bundle):
    from hwkd.measure.bundles import read_costs

    held = bundle(CARD)
    macs = read_costs(held).macs
    shown = row(bundles_table([("small", held, 1)]))["kmac_per_pixel"]
    assert shown == f"{(macs.g_a + macs.h_a + macs.h_s + macs.g_s) / 4096 / 1000:.2f}"


@pytest.mark.parametrize("card", [None, replace(CARD, figures=())])
def test_without_figures_on_kodak_they_are_not_available(bundle, card):
    found = row(bundles_table([("small", bundle(card), 1)]))
    assert (found["kodak_psnr_db"], found["kodak_bpp"]) == ("n/a", "n/a")


def test_data_that_all_share_is_told_once(bundle):
    other = replace(CARD, data="other images", licence="CC-BY-4.0")
    shared = bundles_table([("a", bundle(CARD), 1), ("b", bundle(CARD), 1)])
    told = "All: trained on 9 photographs; licence of the data: CC0."
    assert [note for note in shared.notes if "trained on" in note] == [told]
    apart = bundles_table([(n, bundle(c), 1) for n, c in (("a", CARD), ("b", other), ("c", CARD))])
    assert [note for note in apart.notes if "trained on" in note] == [
        "a, c: trained on 9 photographs; licence of the data: CC0.",
        "b: trained on other images; licence of the data: CC-BY-4.0.",
    ]


def test_where_none_ships_the_table_says_so():
    table = bundles_table([])
    assert table.rows == ()
    assert table.notes == ("No bundle comes with this installation; `hwkd export` writes one.",)


def test_a_teacher_has_its_row_and_its_notes():
    table = teachers_table([(TEACHER, True, 2**20), (TEACHER, False, 2**21)], ("zoo-a", "zoo-b"))
    assert row(table) == {
        "model": "big",
        "architecture": "patch M=12 H=8 Z=8 C=16 widths=16 post=8",
        "lmbda": "0.025",
        "steps": "13,000",
        "hours": "n/a",
        "weights": "float16",
        "size_mib": "1.00",
        "kodak_psnr_db": "34.10",
        "kodak_bpp": "n/a",
    }
    assert (row(table, 1)["weights"], row(table, 1)["size_mib"]) == ("float32", "2.00")
    assert "big, hardware: one GPU. One rate." in table.notes
    assert "zoo-a, zoo-b, as NAME:QUALITY" in table.notes[-1]


def test_a_bundle_of_all_rates_names_its_lambdas_and_the_quality_of_its_figures(rates_bundle):
    held = read_bundle(rates_bundle)
    figures = tuple(replace(CARD.figures[0], quality=q, psnr_db=30 + q / 10) for q in (10, 50, 90))
    card = replace(CARD, figures=figures)
    bundle = replace(held, manifest=replace(held.manifest, card=card))
    table = bundles_table([("all", bundle, 2**20)])
    assert row(table)["lmbda"] == "0.0018 to 0.1800"
    assert row(table)["kodak_psnr_db"] == "35.00"
    assert any("at quality 50" in note for note in table.notes)
