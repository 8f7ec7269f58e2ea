"""A family from outside hwkd, registered by one line, goes all the way to a bundle that encodes and decodes."""

import numpy as np
import pytest
import torch

from hwkd.bits import BitPlan
from hwkd.codec.codec import Codec
from hwkd.export.export import Source, export, prepare
from hwkd.models.base import padded
from hwkd.models.build import build, recognise
from hwkd.models.families import family
from hwkd.models.spec import spec_from_json, spec_to_json, student_spec
from hwkd.quantize.precision import plan_precision
from hwkd.quantize.qat import calibrate, quantize
from hwkd.search.cost import stored_bytes
from hwkd.search.space import families_of, family_space
from hwkd.target import load_target
from tests.fakes.small_kernels import FAMILY, SmallKernels

pytestmark = pytest.mark.usefixtures("in_one_thread")

TARGET = "x86-avx2"


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(family, "_FAMILIES", dict(family._FAMILIES))
    family.register(FAMILY)


def test_it_is_described_planned_and_searched_like_the_others():
    spec = student_spec("small", (8,), 12, None, None)
    assert str(spec) == "small N=8 M=12 H=8 Z=8"
    assert spec_from_json(spec_to_json(spec)) == spec
    plan = plan_precision(load_target(TARGET), 8, 8, family="small")
    assert plan.preferred("encoder").arithmetic == "int8"
    assert families_of(spec)[-1] == "small"
    space = family_space("small", spec)
    assert space.spec(space.cheapest()).family == "small"
    relu = student_spec("relu", (8,), 12, None, None)
    # Four layers of g_a, of a byte a weight: 16 of 25 taps less.
    fewer = 16 * (3 * 8 + 8 * 8 + 8 * 8 + 8 * 12)
    assert stored_bytes(spec, BitPlan(8, 8)) == stored_bytes(relu, BitPlan(8, 8)) - fewer


def test_it_is_started_quantized_exported_and_codes(photo):
    spec = student_spec("small", (8,), 12, None, None)
    student = build(spec)
    assert isinstance(student, SmallKernels)
    assert recognise(student.state_dict(), {}, "here") == spec
    image = photo(64, 128, 1)
    x = padded(image, 64)
    note = student.start(lambda count: x.expand(count, -1, -1, -1), 64, 1, 0.025)
    assert note == "the student starts from random filters, scaled on one batch"
    quantize(student, BitPlan(7, 8))
    calibrate(student.eval(), [x])
    source = Source("small", student, spec, 0.025, BitPlan(7, 8), {})
    bundle = export(
        prepare(source, load_target(TARGET), {"photo": image}),
        {"photo": image},
        lambda _what: None,
    )
    assert bundle.manifest.family == "small"
    codec = Codec.load(bundle, "onnxruntime")
    data = codec.encode(image)
    decoded = codec.decode(data)
    assert decoded.shape == image.shape
    assert np.array_equal(decoded, codec.decode(data))
    with torch.no_grad():
        assert student(x).y.shape[1] == bundle.manifest.M
