import io
import math
from contextlib import nullcontext
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch
from PIL import Image, features

import hwkd.measure.bench as bench_module
from hwkd.codec.codec import Codec
from hwkd.codec.stream import unpack
from hwkd.errors import InputError
from hwkd.images import MAX_PIXELS
from hwkd.measure.bench import BenchPlan, bench, speedup
from hwkd.measure.classic import classic_coder, nearest_quality
from hwkd.measure.coder import (
    Absent,
    Coder,
    StepClock,
    TimedCodec,
    bundle_coder,
    quality_of,
    spread_of_y,
)
from hwkd.measure.eager import coding
from hwkd.measure.eager.compressai import trained_coder, untrained_coder
from hwkd.measure.timing import Latency, LoadWatch
from hwkd.models.build import build
from hwkd.models.checkpoint import save_weights
from hwkd.models.inherit import fit_to_data
from hwkd.quantity import Quantity, not_known
from hwkd.runtime.bundle import read_bundle

QUICK = BenchPlan("none", ("openvino",), 1, 1e-9, None)
MS = 1_000_000


def at_ms(*times):
    """A clock that shows these times, one a look."""
    shown = iter(times)
    return lambda: MS * next(shown)


def psnr(a, b):
    return 10 * math.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@pytest.fixture
def bundle(tiny_bundle):
    return read_bundle(tiny_bundle)


def test_steps_are_the_calls_and_what_lies_between_them():
    clock = StepClock(at_ms(10, 11, 14, 16, 21, 30))
    with clock.run("encode", first="pad"):
        with clock.step("encoder", then="latents"):
            pass
        with clock.step("entropy", then="container"):
            pass
    expected = {"pad": 1.0, "encoder": 3.0, "latents": 2.0, "entropy": 5.0, "container": 9.0}
    assert clock.runs == {"encode": [expected], "decode": []}


def test_a_step_that_comes_back_is_summed():
    clock = StepClock(at_ms(0, 1, 3, 4, 8, 9))
    with clock.run("decode", first="container"):
        for _ in range(2):
            with clock.step("decoder", then="crop"):
                pass
    assert clock.runs["decode"] == [{"container": 1.0, "decoder": 2.0 + 4.0, "crop": 1.0 + 1.0}]


def test_calls_outside_of_a_run_leave_nothing():
    clock = StepClock(at_ms(0, 5, 20, 21))
    with clock.step("hyper", then="latents"):
        pass
    with clock.run("decode", first="container"):
        pass
    assert clock.runs["decode"] == [{"container": 1.0}]


def test_only_the_last_runs_are_summed_up():
    clock = StepClock(at_ms(0, 50, 100, 102, 200, 204, 300, 303))
    for _ in range(4):
        with clock.run("encode", first="all"):
            pass
    # The first run took 50 ms; of 2, 4 and 3 the median is 3.
    found = clock.summary("encode", 3, "a clock")
    assert found == {"all": Quantity(3.0, "measured", "a clock", runs=3)}


def test_a_speedup_is_the_quotient_of_the_medians():
    found = speedup(
        Quantity(100.0, "measured", "x", runs=6), Quantity(20.0, "measured", "x", runs=6)
    )
    assert (found.value, found.low, found.level) == (5.0, None, None)


def test_the_interval_of_a_speedup_divides_the_ends_and_is_less_sure():
    reference = Quantity(100.0, "measured", "x", 90.0, 120.0, 0.95, 8)
    own = Quantity(20.0, "measured", "x", 15.0, 25.0, 0.95, 8)
    found = speedup(reference, own)
    assert (found.low, found.high, found.level) == (90 / 25, 120 / 15, 0.9)


def test_no_speedup_over_what_the_clock_cannot_tell():
    nothing = Quantity(0.0, "measured", "x", runs=6)
    found = speedup(Quantity(1.0, "measured", "x", runs=6), nothing)
    assert (found.value, found.reason) == (None, "a run took less than the clock can tell")


def test_an_image_without_error_has_no_psnr(photo):
    image = photo(8, 8, 0)
    assert quality_of(image, image.copy()).value is None
    other = image ^ 1  # every sample is off by one, so the MSE is 1
    assert quality_of(image, other).value == pytest.approx(20 * math.log10(255))


def test_the_nearest_quality_is_found(photo):
    image = photo(64, 64, 0)

    def encode(quality):
        sink = io.BytesIO()
        Image.fromarray(image).save(sink, format="JPEG", quality=quality)
        return sink.getvalue()

    reached = {
        quality: psnr(image, np.asarray(Image.open(io.BytesIO(encode(quality)))))
        for quality in (49, 50, 51)
    }
    assert reached[49] < reached[50] < reached[51]
    for share in (-0.4, 0.0, 0.4):
        neighbour = reached[51] if share > 0 else reached[49]
        target = reached[50] + abs(share) * (neighbour - reached[50])
        assert nearest_quality(encode, image, target) == 50
    assert nearest_quality(encode, image, 5.0) == 5
    assert nearest_quality(encode, image, 99.0) == 95


@pytest.mark.parametrize("codec", ["jpeg", "webp", "avif"])
def test_a_classic_coder_is_pillows(photo, codec):
    if not features.check(codec.replace("jpeg", "jpg")):
        pytest.skip(f"this Pillow was built without {codec}")
    image = photo(48, 64, 1)
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, format=codec.upper(), quality=60)
    decoded = np.asarray(Image.open(io.BytesIO(sink.getvalue())).convert("RGB"))
    coder = classic_coder(codec, image, 30.0, 60, 2)
    assert coder.name.endswith(" quality 60")
    assert coder.stream_bytes == len(sink.getvalue()) == len(coder.encode())
    assert coder.psnr_db.value == pytest.approx(psnr(image, decoded))
    assert (coder.decode() == decoded).all()
    assert coder.threads == (2 if codec == "avif" else 1)


def test_a_pillow_without_avif_is_told(photo, monkeypatch):
    monkeypatch.setattr("hwkd.measure.pillow_formats.features.check", lambda _: False)
    with pytest.raises(InputError, match="built without AVIF"):
        classic_coder("avif", photo(16, 16, 0), 30.0, 50, 1)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_watched_codec_gives_the_same_bytes_and_pixels(bundle, photo, runtime):
    image = photo(70, 100, 0)
    plain, watched = Codec(bundle, runtime, 1), TimedCodec(bundle, runtime, 1)
    for tile_px in (0, 64):
        data = plain.encode(image, tile_px)
        assert watched.encode(image, tile_px) == data
        assert (watched.decode(data) == plain.decode(data)).all()


def test_every_part_of_a_run_belongs_to_a_step(bundle, photo, monkeypatch):
    codec = TimedCodec(bundle, "openvino", 1)
    image = photo(64, 64, 0)
    data = codec.encode(image)
    codec.decode(data)
    looks = count()
    # A millisecond passes from look to look, so a step takes as many as it has stretches.
    monkeypatch.setattr(codec.clock, "_now_ns", lambda: MS * next(looks))
    with codec.clock.run("encode", first="pad"):
        codec.encode(image)
    with codec.clock.run("decode", first="container"):
        codec.decode(data)
    between = {"latents": 3.0}  # encode: before hyper, y and z; decode: before hyper, y and decoder
    coded = {"hyper": 1.0, "entropy y": 1.0, "entropy z": 1.0, "container": 1.0}
    assert codec.clock.runs == {
        "encode": [{"pad": 1.0, "encoder": 1.0, **between, **coded}],
        "decode": [{**coded, **between, "decoder": 1.0, "crop": 1.0}],
    }


def test_a_bundle_takes_part_with_its_real_bytes(bundle, photo):
    image = photo(96, 128, 0)
    coder = bundle_coder("mine", bundle, "onnxruntime", image, 1)
    data = coder.encode()
    assert (coder.name, coder.threads, coder.stream_bytes) == ("mine", 1, len(data))
    assert coder.setting.startswith("onnxruntime ")
    assert coder.psnr_db.value == pytest.approx(psnr(image, coder.decode()))
    assert [len(coder.clock.runs[side]) for side in ("encode", "decode")] == [1, 1]


def test_the_spread_of_y_is_that_of_the_coded_symbols(bundle, photo):
    image = photo(128, 128, 0)
    codec = Codec(bundle, "onnxruntime", 1)
    y = codec.symbols(unpack(codec.encode(image), MAX_PIXELS)).astype(float)
    expected = sorted((math.sqrt(np.mean(channel**2)) for channel in y), reverse=True)
    assert spread_of_y(bundle, "onnxruntime", image) == pytest.approx(expected)


def test_random_weights_come_near_to_the_rate_they_are_given(photo):
    image = photo(128, 128, 0)
    spread = [20 * 0.8**i for i in range(12)]
    before = torch.get_rng_state()
    coder = untrained_coder(image, spread, 2500, 1)
    # The estimate leaves out how the coder rounds scales and probabilities.
    assert coder.stream_bytes == pytest.approx(2500, rel=0.1)
    assert (torch.get_rng_state() == before).all()
    assert coder.psnr_db.reason == "random weights, whose images say nothing"
    assert "ScaleHyperprior(128, 192) of compressai" in coder.notes[0]
    assert f"{8 * coder.stream_bytes / 128**2:.3f} bpp" in coder.notes[0]
    assert coder.decode().shape == image.shape


@pytest.fixture
def gdn_file(tmp_path, tiny_specs, photo):
    """A float model of CompressAI's class with N=8, M=12, and its file."""
    codec = build(tiny_specs["gdn"])
    fit_to_data(codec, torch.from_numpy(photo(128, 128, 0)).permute(2, 0, 1)[None].float() / 255)
    codec.eval().update(force=True)
    path = tmp_path / "mine.safetensors"
    save_weights(path, codec, half=False, metadata={"lmbda": "0.025"})
    return codec, path


def test_a_checkpoint_is_coded_by_compressais_own_class(gdn_file, photo):
    codec, path = gdn_file
    image = photo(96, 100, 1)
    coder = trained_coder(str(path), image, 1)
    data = coding.encode(codec, image)
    assert coder.stream_bytes == len(data) - coding.HEADER_BYTES
    assert (coder.decode() == coding.decode(codec, data)).all()
    assert coder.psnr_db.value == pytest.approx(psnr(image, coder.decode()))
    assert "ScaleHyperprior(8, 12)" in coder.notes[0] and "the weights of mine" in coder.notes[0]


def test_compressais_networks_are_told_from_its_entropy_coding(gdn_file, photo, monkeypatch):
    coder = trained_coder(str(gdn_file[1]), photo(64, 64, 1), 1)
    looks = count()
    monkeypatch.setattr(coder.clock, "_now_ns", lambda: MS * next(looks))
    coder.encode()
    coder.decode()
    # Between g_a, h_a and h_s and after them; before h_s, and between it and g_s.
    assert coder.clock.runs["encode"][-1] == {
        **{"conversion": 1.0, "g_a": 1.0, "h_a": 1.0, "h_s": 1.0},
        "entropy": 3.0,
    }
    assert coder.clock.runs["decode"][-1] == {
        **{"entropy": 2.0, "h_s": 1.0, "g_s": 1.0, "conversion": 1.0}
    }
    assert coder.entropy == ("entropy",)


def test_a_model_that_compressai_has_no_class_for_is_refused(made_teacher, photo):
    with pytest.raises(
        InputError, match=r"has no class for tiny-teacher \(patch M=12 .*compressai for random"
    ):
        trained_coder(str(made_teacher), photo(64, 64, 0), 1)


def made_coder(name, encode_ms, decode_ms):
    """A coder that does nothing, its clock showing runs of 3 steps: a warm-up of 100 ms each, then the given times."""
    clock = StepClock()
    for side, steps in (("encode", encode_ms), ("decode", decode_ms)):
        clock.runs[side] = [dict.fromkeys(steps, 100.0), *([steps] * 7)]
    psnr_db = Quantity(30.0, "computed", "x")
    return Coder(
        name, "made", 1, list, list, 1500, psnr_db, clock, ("coder",), (f"{name} is here.",)
    )


def test_rows_hold_quotients_and_shares_that_add_up(photo, monkeypatch):
    slow = made_coder("slow", {"coder": 30.0, "net": 70.0}, {"coder": 50.0, "net": 150.0})
    fast = made_coder("fast", {"coder": 1.0, "net": 19.0}, {"coder": 2.0, "net": 8.0})
    gone = Absent("gone", "nowhere", "it is not installed")
    medians = (100.0, 200.0, 20.0, 10.0)  # in the order of the runs: slow, then fast
    monkeypatch.setattr(bench_module, "entries", lambda *_: (gone, slow, fast))
    monkeypatch.setattr(
        bench_module,
        "rounds_until_stopped",
        lambda runs, **_: (
            {
                place: Latency(median, 0.0, None, 7)
                for place, median in zip(runs, medians, strict=True)
            },
            False,
        ),
    )
    busy = LoadWatch(("the machine was busy",))
    monkeypatch.setattr(bench_module, "watch_machine", lambda: nullcontext(busy))
    found = bench(photo(100, 120, 0), {}, QUICK)
    assert [row.name for row in found.rows] == ["gone", "slow", "fast"]
    assert (found.width, found.height, found.reference.name) == (120, 100, "slow")
    absent, first, second = found.rows
    for side in ("encode", "decode"):
        assert absent.latency_ms[side] == absent.speedup[side] == not_known("it is not installed")
    assert (absent.threads, absent.psnr_db.reason) == (None, "it is not installed")
    assert [first.speedup[side].value for side in ("encode", "decode")] == [1.0, 1.0]
    assert [second.speedup[side].value for side in ("encode", "decode")] == [5.0, 20.0]
    assert second.bpp.value == 8 * 1500 / (100 * 120)
    shares = {(step.side, step.name): step.share for step in second.steps}
    assert shares == {
        ("encode", "coder"): 0.05,
        ("encode", "net"): 0.95,
        ("decode", "coder"): 0.2,
        ("decode", "net"): 0.8,
    }
    assert first.entropy_share("decode") == 0.25
    assert found.notes[:2] == ("slow is here.", "fast is here.")
    assert found.notes[2].startswith("In turn, 7 rounds after 2 to warm up; ")
    assert found.notes[2].endswith(": slow (made), fast (made).")
    assert found.notes[3].startswith("Method: wall clock, 1 thread pinned to core")
    assert found.notes[-1] == "The machine was busy."


def test_a_bundle_is_measured_in_every_runtime_beside_the_others(bundle, photo):
    image = photo(96, 128, 0)
    found = bench(image, {"mine": bundle}, replace(QUICK, runtimes=("openvino", "onnxruntime")))
    names = [(row.name.partition(" ")[0], row.setting.partition(" ")[0]) for row in found.rows]
    classic = [(name, "Pillow") for name in ("JPEG", "WebP", "AVIF", "JPEG")]
    assert names == [("mine", "openvino"), ("mine", "onnxruntime"), *classic]
    assert found.reference is found.rows[0]
    for row in found.rows[:2]:
        # 6 runs are the fewest with an interval.
        assert {(q.found, q.runs) for q in row.latency_ms.values()} == {("measured", 6)}
        assert {step.side for step in row.steps} == {"encode", "decode"}
        assert {step.latency_ms.runs for step in row.steps} == {6}


def test_a_given_quality_is_kept(bundle, photo):
    found = bench(photo(96, 128, 0), {"mine": bundle}, replace(QUICK, classic_quality=33))
    assert [row.name for row in found.rows[1:3]] == ["JPEG quality 33", "WebP quality 33"]


@pytest.fixture
def broken_in(monkeypatch):
    """broken_in(*runtimes): the entropy path fails its self-test there."""
    from hwkd.codec import networks

    def choose(*runtimes):
        real = networks.open_hyper

        def opened(bundle, runtime, threads):
            hyper = real(bundle, runtime, threads)
            return (lambda z, rate: hyper(z, rate) ^ 1) if runtime in runtimes else hyper

        monkeypatch.setattr(networks, "open_hyper", opened)

    return choose


def test_a_runtime_that_fails_the_selftest_is_not_measured(bundle, photo, broken_in):
    broken_in("openvino")
    found = bench(
        photo(64, 64, 0), {"mine": bundle}, replace(QUICK, runtimes=("openvino", "onnxruntime"))
    )
    refused, measured = found.rows[:2]
    assert refused.latency_ms["decode"].value is None
    assert "fails the self-test of tiny-patch" in refused.latency_ms["decode"].reason
    assert found.reference is measured


def test_where_no_runtime_can_be_used_there_is_no_bench(bundle, photo, broken_in):
    broken_in("openvino", "onnxruntime")
    with pytest.raises(InputError, match=r"openvino .* fails the self-test"):
        bench(
            photo(64, 64, 0), {"mine": bundle}, replace(QUICK, runtimes=("openvino", "onnxruntime"))
        )


def test_what_pillow_cannot_write_is_left_out_with_the_reason(bundle, photo, monkeypatch):
    monkeypatch.setattr("hwkd.measure.pillow_formats.features.check", lambda _: False)
    found = bench(photo(64, 64, 0), {"mine": bundle}, QUICK)
    *_, avif, jxl = found.rows
    assert (jxl.name, jxl.latency_ms["encode"].value) == ("JPEG XL", None)
    assert jxl.psnr_db.reason == (
        'JPEG XL cannot be coded: pillow-jxl-plugin is not installed: pip install "hwkd[jxl]"'
    )
    assert (avif.name, avif.latency_ms["encode"].value) == ("AVIF", None)
    assert avif.latency_ms["encode"].reason.startswith("this Pillow was built without AVIF")


def test_without_torch_compressai_is_left_out_with_the_reason(bundle, photo, monkeypatch):
    monkeypatch.setattr(bench_module, "installed_version", lambda name: None)
    found = bench(photo(64, 64, 0), {"mine": bundle}, replace(QUICK, against="compressai"))
    first = found.rows[0]
    assert (first.name, first.threads) == ("CompressAI", None)
    assert (
        first.speedup["encode"].reason
        == 'it takes torch and compressai (pip install "hwkd[train]")'
    )
    assert found.reference.name == "mine"
    with pytest.raises(
        InputError, match=r"--against x\.pth takes torch and compressai: pip install"
    ):
        bench(photo(64, 64, 0), {"mine": bundle}, replace(QUICK, against="x.pth"))
