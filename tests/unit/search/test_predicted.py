import pytest

from hwkd.errors import InputError
from hwkd.measure.shipped_records import predicted_records
from hwkd.models.spec import HyperpriorSpec, spec_from_json
from hwkd.report.compared import compare
from hwkd.search.layers import weight_names
from hwkd.search.predicted import Predicted, kernel_bits
from hwkd.target import load_target


def test_a_cost_is_what_compare_says_of_the_same_student():
    target = load_target("raspberry-pi-4")
    record = next(r for r in predicted_records(target) if r.model.name == "patch-small.hwkd")
    row = compare([record]).figures[0]
    cost = Predicted(target)(spec_from_json(record.model.spec))
    assert cost.latency_ms.value == max(row["encode_ms"].value, row["decode_ms"].value)
    assert cost.energy_mj.value == max(row["encode_mj"].value, row["decode_mj"].value)
    assert cost.kmac_per_pixel == pytest.approx(row["kmac_per_pixel"].value)
    assert cost.latency_ms.found == "predicted"
    assert cost.latency_ms.low < cost.latency_ms.value < cost.latency_ms.high


def test_bits_are_those_that_the_targets_kernels_take():
    assert kernel_bits(load_target("raspberry-pi-4")) == 8
    assert kernel_bits(load_target("x86-avx2")) == 7


def test_the_least_size_has_four_bits_everywhere():
    target, spec = load_target("raspberry-pi-4"), HyperpriorSpec("gdn", (64,) * 3, 192, 64, 64)
    cost = Predicted(target)(spec)
    weights = sum(weight_names(spec).values())
    assert cost.full_mib - cost.least_mib == pytest.approx(weights * 4 / 8 / 2**20, abs=1e-4)


def test_a_target_without_constants_is_no_target_of_a_search(board_file):
    board_file.write_text(board_file.read_text().partition("[[constants]]")[0])
    costs = Predicted(load_target(str(board_file)))
    with pytest.raises(InputError, match="a search for my-board has nothing to go by"):
        costs(HyperpriorSpec("gdn", (8, 8, 8), 16, 8, 8))
