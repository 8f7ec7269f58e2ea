from collections import Counter

import numpy as np
import pytest
import torch

from hwkd.errors import InputError
from hwkd.measure.host import eager_setting
from hwkd.measure.stages import stage_latencies
from hwkd.models.build import build
from hwkd.models.teacher import load_teacher

PLACES = [
    ("encode", "preprocess"),
    ("encode", "transform"),
    ("encode", "hyper"),
    ("encode", "entropy"),
    ("encode", "networks"),
    ("encode", "end_to_end"),
    ("decode", "entropy"),
    ("decode", "hyper"),
    ("decode", "transform"),
    ("decode", "postprocess"),
    ("decode", "networks"),
    ("decode", "end_to_end"),
]


def places(entries):
    return [(entry.side, entry.part) for entry in entries]


@pytest.fixture
def trained(made_teacher):
    return load_teacher(str(made_teacher)).model


def test_every_stage_of_a_trained_codec_is_measured(trained, photo):
    threads = torch.get_num_threads()
    entries = stage_latencies(trained, photo(60, 100, 1), threads=1, seconds=1e-9, is_trained=True)
    assert places(entries) == PLACES
    for entry in entries:
        figure = entry.quantity
        assert entry.name == "latency_ms"
        assert entry.setting == eager_setting(1)
        assert (figure.found, figure.runs, figure.level) == ("measured", 6, 0.95)
        assert "1 thread" in figure.by
        assert entry.p95 >= figure.value > 0
    assert torch.get_num_threads() == threads


def test_untrained_weights_have_no_coding_time(tiny_specs, photo):
    codec = build(tiny_specs["gdn"])
    entries = stage_latencies(codec, photo(64, 64, 1), threads=1, seconds=1e-9, is_trained=False)
    assert places(entries) == PLACES
    unknown = [entry for entry in entries if entry.quantity.value is None]
    assert places(unknown) == [
        ("encode", "entropy"),
        ("encode", "end_to_end"),
        ("decode", "entropy"),
        ("decode", "end_to_end"),
    ]
    for entry in unknown:
        assert entry.quantity.reason.startswith("untrained weights: ")
        assert entry.p95 is None
    assert codec.training


def test_stages_run_their_networks_once_each(trained, photo):
    calls = Counter()
    for name in ("g_a", "h_a", "h_s", "g_s"):
        getattr(trained, name).register_forward_hook(lambda *_, name=name: calls.update([name]))
    stage_latencies(trained, photo(64, 64, 1), threads=1, seconds=1e-9, is_trained=True)
    # 2 warm-up rounds and 6 timed ones, and one pass to make the inputs. In a round: g_a in transform, networks and
    # end_to_end; h_a in hyper, networks, end_to_end; h_s in those of both sides; g_s as g_a.
    assert calls == {"g_a": 8 * 3 + 1, "h_a": 8 * 3 + 1, "h_s": 8 * 6 + 1, "g_s": 8 * 3 + 1}


def test_untrained_weights_are_not_coded_even_once(tiny_specs, photo, monkeypatch):
    def coded(*_, **__):
        raise AssertionError("coded")

    codec = build(tiny_specs["patch"])
    for model in (codec.entropy_bottleneck, codec.gaussian_conditional):
        monkeypatch.setattr(model, "compress", coded)
        monkeypatch.setattr(model, "decompress", coded)
    stage_latencies(codec, photo(64, 64, 1), threads=1, seconds=1e-9, is_trained=False)


def test_what_is_no_image_is_refused(trained):
    with pytest.raises(InputError, match="uint8 array"):
        stage_latencies(trained, np.zeros((8, 8)), threads=1, seconds=1, is_trained=True)


def test_a_model_elsewhere_is_refused(tiny_specs, photo):
    codec = build(tiny_specs["relu"]).to("meta")
    with pytest.raises(InputError, match="on the CPU, the model is on meta"):
        stage_latencies(codec, photo(64, 64, 1), threads=1, seconds=1, is_trained=False)
