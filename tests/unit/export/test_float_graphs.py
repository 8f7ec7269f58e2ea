import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from hwkd.errors import HwkdError, InputError
from hwkd.export.float_graphs import FrozenGDN, export_networks
from hwkd.models.build import build
from hwkd.models.compat import GDN
from hwkd.models.spec import HyperpriorSpec


def shapes(values):
    return {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


@pytest.mark.parametrize("inverse", [False, True])
def test_frozen_gdn_is_gdn_by_its_equation(inverse):
    layer = GDN(2, inverse=inverse)
    beta, gamma = torch.tensor([1.0, 4.0]), torch.tensor([[0.5, 0.0], [0.25, 2.0]])
    layer.beta.data = layer.beta_reparam.init(beta)
    layer.gamma.data = layer.gamma_reparam.init(gamma)
    # norm = sqrt(beta + gamma x^2) at x = (2, 1): sqrt(1 + 0.5 * 4) and sqrt(4 + 0.25 * 4 + 2 * 1).
    norm = np.sqrt([3.0, 7.0])
    x = np.array([2.0, 1.0])
    out = FrozenGDN(layer)(torch.tensor(x, dtype=torch.float32)[None, :, None, None])
    expected = x * norm if inverse else x / norm
    assert np.allclose(out.flatten().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("family", ["gdn", "relu", "patch", "mean"])
def test_graphs_compute_what_the_networks_do(tiny_specs, tmp_path, family):
    spec = tiny_specs.get(family, HyperpriorSpec("mean", (8, 8, 8), 12, 8, 8))
    codec = build(spec)
    graphs = export_networks(codec, tmp_path, 100, 60)
    assert codec.training
    x = torch.rand(1, 3, 64, 128)
    y_hat, z_hat = torch.randn(1, 12, 4, 8).round(), torch.randn(1, 8, 1, 2).round()
    with torch.no_grad():
        y = codec.g_a(x)
        scales_hat, means_hat = codec.entropy_parameters(z_hat)
        expected = {
            "encoder": {"y": y, "z": codec.hyper_analysis(y)},
            "hyper": {"scales_hat": scales_hat},
            "decoder": {"x_hat": codec.g_s(y_hat)},
        }
    if means_hat is not None:
        expected["hyper"]["means_hat"] = means_hat
    inputs = {"encoder": {"x": x}, "hyper": {"z_hat": z_hat}, "decoder": {"y_hat": y_hat}}
    for name, arrays in inputs.items():
        # onnx's own evaluator, so that no runtime's optimizations take part.
        graph = ReferenceEvaluator(str(getattr(graphs, name)))
        outputs = graph.run(None, {key: value.numpy() for key, value in arrays.items()})
        assert graph.output_names == list(expected[name])
        for output, wanted in zip(outputs, expected[name].values(), strict=True):
            assert np.allclose(output, wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_graphs_have_fixed_sizes_the_opset_and_no_reparametrization(tiny_specs, tmp_path):
    graphs = export_networks(build(tiny_specs["gdn"]), tmp_path, 65, 64, opset=13)
    encoder = onnx.load(graphs.encoder)
    assert shapes(encoder.graph.input) == {"x": [1, 3, 64, 128]}
    assert shapes(encoder.graph.output) == {"y": [1, 12, 4, 8], "z": [1, 8, 1, 2]}
    assert [opset.version for opset in encoder.opset_import] == [13]
    # beta and gamma are constants: nothing bounds them from below at run time.
    assert not {node.op_type for node in encoder.graph.node} & {"Max", "Clip", "Pow"}
    assert shapes(onnx.load(graphs.hyper).graph.input) == {"z_hat": [1, 8, 1, 2]}
    assert shapes(onnx.load(graphs.decoder).graph.output) == {"x_hat": [1, 3, 64, 128]}


def test_a_size_without_pixels_and_a_missing_folder_are_refused(tiny_specs, tmp_path):
    codec = build(tiny_specs["relu"])
    with pytest.raises(InputError, match="image of 0x64"):
        export_networks(codec, tmp_path, 0, 64)
    with pytest.raises(InputError, match="is not a folder to export into"):
        export_networks(codec, tmp_path / "none", 64, 64)


def test_an_opset_that_torch_does_not_write_is_told(tiny_specs, tmp_path):
    with pytest.raises(HwkdError, match=r"could not export encoder.onnx at opset 99"):
        export_networks(build(tiny_specs["relu"]), tmp_path, 64, 64, opset=99)
