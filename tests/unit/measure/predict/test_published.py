import json
import math

import numpy as np
import pytest

from hwkd.errors import InputError
from hwkd.measure.layers import TERMS, LayerCost
from hwkd.measure.predict.published import Configuration, population, read_timings

NETWORKS = [f"n{i}" for i in range(10)]


def layer(macs, operator="conv"):
    """A pointwise convolution between 64 channels, where a MAC weighs 1; 50 values in and out."""
    return LayerCost(
        name="a",
        network="",
        operator=operator,
        c_in=64,
        c_out=64,
        kernel=1,
        stride=1,
        groups=1,
        in_values=20,
        out_values=30,
        weights=1,
        macs=macs,
    )


LAYERS = {name: (layer(1000), layer(500)) for name in NETWORKS}


@pytest.fixture
def table(tmp_path):
    """table(rows, networks=..): the timings read from a file; a row is (device, threads, gpu, times)."""

    def make(rows, networks=(*NETWORKS, "n3_int8", "unheard-of")):
        path = tmp_path / "timings.json"
        rows = [{"device": d, "threads": t, "gpu": g, "ms": ms} for d, t, g, ms in rows]
        path.write_text(json.dumps({"source": "a page", "networks": list(networks), "rows": rows}))
        return read_timings(path)

    return make


FULL = [*range(1, 11), 20, 99]


def test_the_shipped_table_has_cpus_and_gpus_with_their_source():
    timings = read_timings()
    assert timings.source.startswith("Tencent/ncnn benchmark/README.md at ")
    assert {c.gpu >= 0 for c in timings.configurations} == {True, False}
    names = timings.networks
    assert names[0] == "squeezenet" and names[-1] == "mobilenet_ssd_int8"
    assert all(len(row) == len(names) for row in timings.ms)


def test_rows_become_configurations_with_their_times(table):
    timings = table([("a board", 4, -1, FULL)])
    assert timings.configurations == (Configuration("a board", 4, -1),)
    assert timings.ms == (tuple(float(t) for t in FULL),)


def test_a_configuration_says_where_it_ran():
    assert str(Configuration("a board", 4, -1)) == "a board, CPU, 4 threads"
    assert str(Configuration("a board", 1, 0)) == "a board, GPU 0, 1 thread"


def test_networks_of_both_precisions_become_columns_and_unknown_ones_do_not(table):
    found = population(table([("a board", 4, -1, FULL)]), LAYERS, of_gpus=False)
    assert found.name == "CPU"
    assert found.columns == (*((name, False) for name in NETWORKS), ("n3", True))
    np.testing.assert_allclose(found.ln_times, [[math.log(t) for t in [*range(1, 11), 20]]])
    assert found.is_int8.tolist() == [False] * 10 + [True]


def test_the_work_of_int8_has_terms_of_its_own(table):
    found = population(table([("a board", 4, -1, FULL)]), LAYERS, of_gpus=False)
    assert found.terms == tuple((t, is_int8) for is_int8 in (False, True) for t in TERMS)
    expected = {"pointwise": 1500, "values": 100, "calls": 2}
    for n, (_, is_int8) in enumerate(found.columns):
        row = dict(zip(found.terms, found.work[n], strict=True))
        mine = {term: amount for (term, of), amount in row.items() if of == is_int8 and amount}
        assert mine == pytest.approx(expected)
        assert not any(amount for (_, of), amount in row.items() if of != is_int8)


def test_gpus_stand_apart_and_their_int8_is_left_out(table):
    timings = table([("a board", 4, -1, FULL), ("a board", 4, 0, FULL), ("other", 1, 1, FULL)])
    found = population(timings, LAYERS, of_gpus=True)
    assert found.name == "GPU"
    assert [str(c) for c in found.configurations] == [
        "a board, GPU 0, 4 threads",
        "other, GPU 1, 1 thread",
    ]
    assert found.columns == tuple((name, False) for name in NETWORKS)
    assert found.terms == tuple((term, False) for term in TERMS)
    assert found.work.shape == (10, len(TERMS))


def test_a_missing_time_is_not_a_number(table):
    ms = [*range(1, 11), None, 99]
    found = population(table([("a board", 4, -1, ms)]), LAYERS, of_gpus=False)
    assert np.isnan(found.ln_times[0]).tolist() == [False] * 10 + [True]


def test_a_configuration_with_fewer_than_ten_float_networks_is_left_out(table):
    few = [None, *FULL[1:]]
    timings = table([("few", 4, -1, few), ("a board", 4, -1, FULL)])
    found = population(timings, LAYERS, of_gpus=False)
    assert [c.device for c in found.configurations] == ["a board"]
    with pytest.raises(InputError, match=r"^no CPU has timings of 10 known networks; got 1 rows$"):
        population(table([("few", 4, -1, few)]), LAYERS, of_gpus=False)


def test_without_gpus_there_is_no_population_of_them(table):
    with pytest.raises(InputError, match=r"^no GPU has timings of 10 known networks; got 1 rows$"):
        population(table([("a board", 4, -1, FULL)]), LAYERS, of_gpus=True)


def test_a_device_published_twice_stands_twice(table):
    timings = table([("a board", 4, -1, FULL), ("a board", 4, -1, FULL)])
    assert len(population(timings, LAYERS, of_gpus=False).configurations) == 2


@pytest.mark.parametrize(
    ("ms", "message"),
    [
        ([1.0], "a board, CPU, 4 threads has 1 times for 2 networks"),
        ([1.0, 0.0], "a board, CPU, 4 threads has a time of 0.0 ms; above 0 is accepted"),
        ([1.0, -2.0], "a board, CPU, 4 threads has a time of -2.0 ms; above 0 is accepted"),
        ([1.0, math.nan], "a board, CPU, 4 threads has a time of nan ms; above 0 is accepted"),
        ([1.0, math.inf], "a board, CPU, 4 threads has a time of inf ms; above 0 is accepted"),
    ],
)
def test_times_that_cannot_be_are_refused(table, tmp_path, ms, message):
    with pytest.raises(InputError) as caught:
        table([("a board", 4, -1, ms)], networks=("n0", "n1"))
    assert str(caught.value) == f"{tmp_path / 'timings.json'}: {message}"


@pytest.mark.parametrize(
    "content",
    ["[]", '{"source": "a"}', '{"source": "a", "networks": [], "rows": [{"device": "b"}]}'],
)
def test_another_form_is_refused(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_timings(path)
    assert str(caught.value).startswith(f"{path} is no table of timings (")
    assert str(caught.value).endswith(
        "it needs source, networks and rows of device, threads, gpu, ms"
    )


def test_a_file_that_is_not_there_or_not_json_is_refused(tmp_path):
    path = tmp_path / "no.json"
    with pytest.raises(InputError) as caught:
        read_timings(path)
    assert str(caught.value) == f"cannot read the timings {path}: No such file or directory"
    path.write_text("{")
    with pytest.raises(InputError) as caught:
        read_timings(path)
    assert str(caught.value).startswith(f"{path} is not JSON: ")
