import pytest
import torch

from hwkd.errors import InputError
from hwkd.files import data_folder
from hwkd.measure.eager.macs import network_layers
from hwkd.measure.eager.other_networks import NETWORKS, other_layers, shape_layers
from hwkd.measure.predict.other_runtimes import read_other
from hwkd.measure.predict.published import TENSORRT, read_timings, size_of

# (millions of parameters, source), batch norms folded; and of MACs where they are told.
PUBLISHED = {
    "mobilenet_v1_0.5": (1.3, 149, 224, "arXiv 1704.04861, table 6"),
    "mobilenet_v2_1.4": (6.1, 585, 224, "arXiv 1801.04381, table 4"),
    "mobilenet_v3_small": (2.5, 56, 224, "arXiv 1905.02244, table 3"),
    "efficientnet_lite0": (4.7, 407, 224, "tensorflow/tpu efficientnet lite README"),
    "efficientnet_lite2": (6.1, 899, 260, "tensorflow/tpu efficientnet lite README"),
    "efficientnet_lite4": (13.0, 2640, 300, "tensorflow/tpu efficientnet lite README"),
    "mixnet_s": (4.1, 256, 224, "arXiv 1907.09595, table 2"),
    "mixnet_m": (5.0, 360, 224, "arXiv 1907.09595, table 2"),
    "mixnet_l": (7.3, 565, 224, "arXiv 1907.09595, table 2"),
    "resnet34": (21.8, 3600, 224, "arXiv 1512.03385, table 1"),
    "pidnet_s": (7.6, 47600 / 8, 512, "arXiv 2206.02066, table 5, at 2048x1024"),
    "yolox_s": (9.0, 26800 / 2, 640, "arXiv 2107.08430, table 4"),
    "yolox_m": (25.3, 73800 / 2, 640, "arXiv 2107.08430, table 4"),
    "yolox_l": (54.2, 155600 / 2, 640, "arXiv 2107.08430, table 4"),
    "yolo11n": (2.6, 6500 / 2, 640, "ultralytics docs, YOLO11"),
    "yolo11m": (20.1, 68000 / 2, 640, "ultralytics docs, YOLO11"),
    "yolo11x": (56.9, 194900 / 2, 640, "ultralytics docs, YOLO11"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_network_has_the_parameters_and_macs_that_were_published(name):
    parameters, macs, side, _source = PUBLISHED[name]
    with torch.device("meta"):
        model = NETWORKS[name]()
    found = sum(p.numel() for p in model.parameters()) / 1e6
    assert found == pytest.approx(parameters, rel=0.025)
    layers = shape_layers(NETWORKS[name], side, side)
    # Some count squeeze and excitation, activations or batch norms too.
    assert sum(layer.macs for layer in layers) / 1e6 == pytest.approx(macs, rel=0.075)


def test_shapes_alone_give_the_layers_that_a_pass_and_fvcore_give():
    build = NETWORKS["mixnet_s"]
    assert shape_layers(build, 64, 64) == network_layers(build(), torch.zeros(1, 3, 64, 64))


def test_every_network_that_was_timed_is_there():
    timed = {row.network[0] for row in read_other()}
    timed |= {
        size_of(name)[0] for name in read_timings(data_folder("profiles") / TENSORRT).networks
    }
    assert timed <= set(NETWORKS)


def test_an_unknown_network_is_refused():
    with pytest.raises(InputError, match="unknown network 'resnet19'"):
        other_layers([("resnet19", 8, 8)])
