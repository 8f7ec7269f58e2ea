import json

import pytest
import torch

from hwkd.files import data_folder
from hwkd.measure.eager import benchmark_networks
from hwkd.measure.eager.benchmark_networks import NETWORKS, benchmark_layers
from hwkd.measure.eager.macs import network_layers

# Millions of multiply-accumulates as others published them; where they are told as operations, half of those.
PUBLISHED = {
    "mobilenet": (569, "arXiv 1704.04861, table 8"),
    "mobilenet_v2": (300, "arXiv 1801.04381, table 4"),
    "mobilenet_v3": (219, "arXiv 1905.02244, table 3"),
    "shufflenet": (137, "arXiv 1707.01083, table 1, 3 groups"),
    "shufflenet_v2": (146, "arXiv 1807.11164, table 8"),
    "mnasnet": (315, "tensorflow/tpu models/official/mnasnet, 224 pixels, width 1"),
    "proxylessnasnet": (320, "arXiv 1812.00332, mobile"),
    "efficientnet_b0": (390, "arXiv 1905.11946, table 2"),
    "efficientnetv2_b0": (720, "google/automl efficientnetv2, EfficientNetV2-B0"),
    "regnety_400m": (400, "arXiv 2003.13678, RegNetY-400MF"),
    "squeezenet": (785 / 2, "OpenVINO Open Model Zoo, squeezenet1.1 at 227 pixels"),
    "googlenet": (1550, "arXiv 1704.04861, table 8"),
    "resnet18": (1800, "arXiv 1512.03385, table 1"),
    "resnet50": (3800, "arXiv 1512.03385, table 1"),
    "vgg16": (15300, "arXiv 1704.04861, table 8"),
    "alexnet": (727, "albanie/convnet-burden, at 227 pixels"),
    "mobilenet_ssd": (2316 / 2, "OpenVINO Open Model Zoo, mobilenet-ssd"),
    "yolov4-tiny": (6910 / 2, "AlexeyAB/darknet, 6.910 BFLOPS"),
}
# The rest takes many seconds together.
QUICK = ("squeezenet", "mobilenet", "proxylessnasnet", "efficientnetv2_b0", "resnet18", "alexnet")


def test_every_network_of_the_published_table_is_there():
    table = json.loads((data_folder("profiles") / "published/ncnn-benchmark.json").read_text())
    assert {name.removesuffix("_int8") for name in table["networks"]} == set(NETWORKS)
    assert set(PUBLISHED) == set(NETWORKS)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in PUBLISHED],
)
def test_a_network_has_the_macs_that_were_published(name):
    build, size = NETWORKS[name]
    layers = network_layers(build(), torch.zeros(1, 3, size, size))
    million, _source = PUBLISHED[name]
    # Tables round to two digits, and some leave out biases or the last layer.
    assert sum(layer.macs for layer in layers) / 1e6 == pytest.approx(million, rel=0.022)


def test_batch_norms_and_relus_are_no_layers():
    layers = network_layers(NETWORKS["resnet18"][0](), torch.zeros(1, 3, 64, 64))
    # 17 convolutions of 3x3 and the first of 7x7, less one; 3 shortcuts of 1x1; one pool; one dense layer.
    kernels = [layer.kernel for layer in layers if layer.operator == "conv"]
    assert sorted(kernels) == [1] * 3 + [3] * 16 + [7]
    assert sorted(x.operator for x in layers if x.operator != "conv") == ["dense", "pool"]


def test_caffes_alexnet_has_groups_and_its_published_weights():
    layers = network_layers(NETWORKS["alexnet"][0](), torch.zeros(1, 3, 227, 227))
    assert [x.groups for x in layers if x.operator == "conv"] == [1, 2, 1, 2, 2]
    # Krizhevsky et al. 2012: 60 million parameters, 650,000 neurons.
    assert sum(x.weights for x in layers) == pytest.approx(60.9e6, rel=0.01)


def test_all_are_counted_at_their_own_size_and_told(monkeypatch):
    few = {name: NETWORKS[name] for name in ("mobilenet", "alexnet")}
    monkeypatch.setattr(benchmark_networks, "NETWORKS", few)
    told = []
    layers = benchmark_layers(told.append)
    assert told == list(layers) == ["mobilenet", "alexnet"]
    # Both halve the image first, mobilenet from 224 to 112 and alexnet from 227 to 55 pixels.
    assert layers["mobilenet"][0].out_values == 32 * 112 * 112
    assert layers["alexnet"][0].out_values == 96 * 55 * 55
