from dataclasses import replace

import pytest

from hwkd.bits import BitPlan
from hwkd.errors import InputError
from hwkd.measure.bundles import predicted_records
from hwkd.measure.eager.macs import codec_layers
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec, PatchSpec, spec_from_json
from hwkd.quantity import Quantity, not_known
from hwkd.quantize.integer import weight_bytes
from hwkd.quantize.qat import conv_layers, quantize, with_empty_rests
from hwkd.report.compare.rows import compare
from hwkd.search.cost import (
    Budget,
    Cost,
    PredictedCosts,
    cost_from_dict,
    fits_budget,
    kernel_bits,
    macs_per_pixel,
    shrunk,
    stored_bytes,
    student_layers,
    uniform_students,
    weight_names,
    widest_uniform,
    within,
)
from hwkd.search.space import FamilySpace, Range, Space
from hwkd.target import load_target
from tests.unit.search.conftest import cost_by_channels, small_space

COST = Cost(
    7.5,
    Quantity(120.0, "predicted", "pi.toml", 80.0, 170.0, 0.9),
    Quantity(900.0, "predicted", "pi.toml"),
    0.5,
    1.0,
)
WITHOUT_ENERGY = Cost(7.5, COST.latency_ms, not_known("no sensor"), 0.5, 1.0)


def test_a_cost_comes_back_from_plain_values():
    assert cost_from_dict(COST.to_dict()) == COST
    assert cost_from_dict(WITHOUT_ENERGY.to_dict()) == WITHOUT_ENERGY


@pytest.mark.parametrize(
    ("budget", "excess"),
    [
        (Budget(150, None, None), 0.8),
        (Budget(60, None, None), 2.0),
        (Budget(150, 600, None), 1.5),
        (Budget(150, 1000, 0.25), 2.0),
    ],
)
def test_the_excess_is_the_largest_share_of_a_limit(budget, excess):
    assert budget.excess(COST) == pytest.approx(excess)
    assert budget.fits(COST) == (excess <= 1)


def test_a_limit_is_kept_by_what_just_reaches_it():
    assert Budget(120, 900, 0.5).fits(COST)


def test_in_full_the_weights_keep_the_kernels_bits():
    assert Budget(150, None, 1.0).fits_in_full(COST)
    assert Budget(150, None, 0.9).fits(COST) and not Budget(150, None, 0.9).fits_in_full(COST)
    assert not Budget(110, None, None).fits_in_full(COST)


def test_no_limit_at_all_is_no_search():
    with pytest.raises(InputError, match="give --max-ms, --max-mj or --max-mib"):
        Budget(None, None, None)


def test_a_limit_on_unknown_energy_is_refused_with_the_reason():
    with pytest.raises(InputError, match="--max-mj 800 cannot be held: no sensor"):
        Budget(150, 800, None).fits(WITHOUT_ENERGY)
    assert Budget(150, None, None).fits(WITHOUT_ENERGY)


def test_a_budget_is_told_with_its_units():
    assert str(Budget(150, 800, 4)) == "150 ms, 800 mJ, 4 MiB"
    assert str(Budget(None, None, 0.5)) == "0.5 MiB"


SPECS = (
    HyperpriorSpec("gdn", (8, 16, 24), 20, 12, 10),
    HyperpriorSpec("relu", (8, 16, 24), 20, 12, 10),
    PatchSpec(M=20, H=12, Z=10, C=40, widths=(16, 40), post=(12, 8)),
    PatchSpec(20, 12, 10, 40, (16, 40), (12, 8), anchors=3, context=(6, 14), hyper_kernel=1),
    PatchSpec(20, 12, 10, 128, (16,), (8,)),
)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_layers_are_those_of_a_model_that_is_built_and_traced(spec):
    assert student_layers(spec, 100, 200) == codec_layers(with_empty_rests(build(spec)), 100, 200)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_stored_bytes_are_those_of_the_quantized_model(spec):
    bits = BitPlan(7, 8, (("g_s.*", 5, 8), ("h_s.0", 4, 8)))
    codec = build(spec)
    names = weight_names(spec)
    quantize(codec, bits)
    assert names == {name: layer.weight.numel() for name, layer in conv_layers(codec).items()}
    assert stored_bytes(spec, bits) == weight_bytes(codec)


def test_the_papers_teacher_takes_the_macs_that_it_published():
    spec = HyperpriorSpec("gdn", (128, 128, 128), 192, 128, 128)
    layers = student_layers(spec, 768, 512)
    # Per pixel, by hand: g_a 25 x 3 x 128 / 4 and so on down to 25 x 128 x 192 / 256, each GDN 128^2 / 4^k; g_s mirrors.
    g_a = 25 * 3 * 128 / 4 + 25 * 128**2 * (1 / 16 + 1 / 64) + 25 * 128 * 192 / 256
    gdn = 128**2 * (1 / 4 + 1 / 16 + 1 / 64)
    h = 9 * 192 * 128 / 256 + 25 * 128**2 * (1 / 1024 + 1 / 4096)
    assert macs_per_pixel(layers, 768, 512) == pytest.approx(2 * (g_a + gdn + h))


def test_a_cost_is_what_compare_says_of_the_same_student():
    target = load_target("raspberry-pi-4")
    record = next(r for r in predicted_records(target) if r.model.name == "patch-small.hwkd")
    row = compare([record]).figures[0]
    cost = PredictedCosts(target)(spec_from_json(record.model.spec))
    assert cost.latency_ms.value == max(row["encode_ms"].value, row["decode_ms"].value)
    assert cost.energy_mj.value == max(row["encode_mj"].value, row["decode_mj"].value)
    assert cost.kmac_per_pixel == pytest.approx(row["kmac_per_pixel"].value)
    # With entropy coding, which the budget of a user has to hold.
    networks = tuple(e for e in record.entries if e.part == "networks")
    without = compare([replace(record, entries=networks)]).figures[0]
    assert cost.latency_ms.value > max(without["encode_ms"].value, without["decode_ms"].value)
    assert cost.latency_ms.found == "predicted"
    assert cost.latency_ms.low < cost.latency_ms.value < cost.latency_ms.high


def test_where_entropy_coding_is_not_known_the_costs_say_that_they_are_of_the_networks(monkeypatch):
    monkeypatch.setattr("hwkd.measure.predict.target.coded", lambda *_: None)
    costs = PredictedCosts(load_target("raspberry-pi-4"))
    assert costs(HyperpriorSpec("gdn", (8, 8, 8), 16, 8, 8)).latency_ms.value > 0
    assert costs.notes[-1] == (
        "latency_ms, energy_mj: of the networks alone; what entropy coding takes on raspberry-pi-4 is not known."
    )


def test_bits_are_those_that_the_targets_kernels_take():
    assert kernel_bits(load_target("raspberry-pi-4")) == 8
    assert kernel_bits(load_target("x86-avx2")) == 7


def test_the_least_size_has_four_bits_everywhere():
    target, spec = load_target("raspberry-pi-4"), HyperpriorSpec("gdn", (64,) * 3, 192, 64, 64)
    cost = PredictedCosts(target)(spec)
    weights = sum(weight_names(spec).values())
    assert cost.full_mib - cost.least_mib == pytest.approx(weights * 4 / 8 / 2**20, abs=1e-4)


def test_a_target_without_constants_is_no_target_of_a_search(board_file):
    board_file.write_text(board_file.read_text().partition("[[constants]]")[0])
    costs = PredictedCosts(load_target(str(board_file)))
    with pytest.raises(InputError, match="a search for my-board has nothing to go by"):
        costs(HyperpriorSpec("gdn", (8, 8, 8), 16, 8, 8))


GDN = small_space().of("gdn")
WIDE = {"N1": 32, "N2": 32, "N3": 32, "M": 32, "H": 8, "Z": 8}


def channels(most):
    return fits_budget(Budget(most, None, None), cost_by_channels)


def test_what_fits_is_left_as_it_is():
    assert shrunk(GDN, WIDE, channels(128)) == WIDE


def test_what_does_not_fit_is_shrunk_as_far_as_it_must():
    # The cheapest takes 3 x 8 + 16 = 40. On the way, rounded down: 24 channels and M=16 take 88, 32 and 32 take 128.
    assert shrunk(GDN, WIDE, channels(127)) == {**WIDE, "N1": 24, "N2": 24, "N3": 24, "M": 16}
    assert shrunk(GDN, WIDE, channels(88)) == {**WIDE, "N1": 24, "N2": 24, "N3": 24, "M": 16}
    assert shrunk(GDN, WIDE, channels(87)) == {**WIDE, "N1": 16, "N2": 16, "N3": 16, "M": 16}
    assert shrunk(GDN, WIDE, channels(40)) == GDN.cheapest()


def test_shrinking_keeps_the_proportions():
    uneven = {**WIDE, "N1": 8, "N2": 16}
    # 8 + 16 + 32 + 32 = 88; half way back N2 stays above the cheapest by 4, which rounds down.
    assert shrunk(GDN, uneven, channels(60)) == {**WIDE, "N1": 8, "N2": 8, "N3": 24, "M": 16}


def test_the_widest_student_of_equal_widths_is_found():
    # M stays at 32: 3 x 24 + 32 = 104, 3 x 32 + 32 = 128.
    assert widest_uniform(GDN, channels(110)) == {**WIDE, "N1": 24, "N2": 24, "N3": 24}
    assert widest_uniform(GDN, channels(128)) == WIDE
    assert widest_uniform(GDN, channels(55)) is None


def test_a_student_of_equal_widths_keeps_the_kernels_bits_where_one_can():
    # In full a channel takes 1 / 500 MiB, at the fewest bits half of that; gdn from 56, patch from 80 channels.
    def widths(max_mib):
        budget = Budget(None, None, max_mib)
        return {p.family: v for p, v in uniform_students(small_space(), budget, cost_by_channels)}

    assert widths(0.21)["gdn"] == {**WIDE, "N1": 24, "N2": 24, "N3": 24}
    assert widths(0.21)["patch"]["w1"] == 24
    assert widths(0.1)["gdn"] == {**WIDE, "N1": 16, "N2": 16, "N3": 16}
    assert list(widths(0.06)) == ["gdn"]


def test_families_without_a_student_in_the_budget_are_left_out():
    # The cheapest of gdn takes 40 ms, of patch 3 x 16 + 16 = 64.
    kept = within(small_space(), Budget(50, None, None), cost_by_channels, "a board")
    assert [part.family for part in kept.families] == ["gdn"]


def test_a_budget_that_nothing_keeps_names_the_nearest():
    with pytest.raises(InputError) as error:
        within(small_space(), Budget(30, 300, None), cost_by_channels, "a board")
    assert str(error.value) == (
        "no student of the search keeps the budget of 30 ms, 300 mJ on a board: the nearest that can be had is "
        "gdn N=8 M=16 H=8 Z=8, with 40 ms, 400 mJ; give --max-ms 40 or more and --max-mj 400 or more, or another target"
    )


def test_what_is_advised_is_enough():
    part = FamilySpace("gdn", tuple(Range(r.name, r.low, r.low, r.step) for r in GDN.ranges))
    costs = PredictedCosts(load_target("raspberry-pi-4"))
    with pytest.raises(InputError) as error:
        within(Space((part,)), Budget(1, None, None), costs, "raspberry-pi-4")
    advised = float(str(error.value).partition("--max-ms ")[2].partition(" ")[0])
    assert within(Space((part,)), Budget(advised, None, None), costs, "x").families == (part,)
