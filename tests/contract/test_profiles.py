"""The records that ship: every one loads, the paper's architectures are there for every target, predictions are fresh."""

import json
from hashlib import sha256

import pytest

from hwkd.cli.measuring.profile import record_path
from hwkd.codec.shipped import named_bundle, shipped
from hwkd.files import data_folder
from hwkd.measure.bundles import load_bundle_subject
from hwkd.measure.eager.models import load_subject
from hwkd.measure.profile import profile_target
from hwkd.measure.record import NO_RECORDS, find_records, read_record
from hwkd.models.shipped import read_card, shipped_path
from hwkd.runtime.bundle import BUNDLE_SUFFIX, read_bundle
from hwkd.target import list_targets, load_target

PROFILES = data_folder("profiles")
PATHS = sorted(p for p in PROFILES.glob("*/*.json") if p.parent.name not in NO_RECORDS)
PAPER = json.loads((PROFILES / "published" / "arxiv-2509.10366.json").read_text(encoding="utf-8"))
MODELS = {f"hyperprior:N={row['N']},M=192" for row in PAPER["rows"]}
BUNDLES = {
    f"{name}.hwkd"
    for name in (
        *("patch-large", "patch-medium", "patch-small"),
        *("gdn-64", "gdn-32", "gdn-16", "relu-64", "relu-32"),
    )
}
ALL_RATES = {"patch-large.hwkd", "patch-medium.hwkd", "patch-small.hwkd"}
"""Predicted for every target; measured on none yet."""
TEACHERS = {"patch-q5"}
RUNTIMES = {"onnxruntime", "openvino"}


def test_the_paper_has_six_architectures():
    assert len(MODELS) == 6


@pytest.mark.parametrize("path", PATHS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_record_loads_and_lies_where_its_names_say(path):
    record = read_record(path)
    assert record_path(PROFILES, record) == path
    assert (record.width, record.height) == (768, 512)


@pytest.mark.parametrize("target", list_targets())
def test_every_target_has_a_predicted_record_of_each_architecture(target):
    records = find_records(target)
    assert {r.model.name for r in records} == MODELS | BUNDLES | TEACHERS
    assert not any(r.is_host for r in records)
    assert any(
        e.name == "latency_ms" and e.quantity.value is not None for r in records for e in r.entries
    )


def test_one_machine_was_measured():
    hosts = [r for r in map(read_record, PATHS) if r.is_host]
    assert {r.model.name for r in hosts} == MODELS | (BUNDLES - ALL_RATES) | TEACHERS
    assert len({r.target for r in hosts}) == 1
    for record in hosts:
        # It was quiet: a record of a busy machine is not one to ship.
        assert not [note for note in record.notes if "busy" in note or "the clock moved" in note]
        with_torch = set() if record.model.name in BUNDLES else {"torch"}
        assert {e.setting.runtime.split()[0] for e in record.entries} == RUNTIMES | with_torch


@pytest.fixture(scope="module")
def subjects():
    """Two architectures and two bundles by name, for 768x512."""
    bundles = {
        name: load_bundle_subject(str(shipped()[name.removesuffix(BUNDLE_SUFFIX)]), 768, 512)
        for name in ("patch-small.hwkd", "gdn-16.hwkd")
    }
    bare = ("hyperprior:N=64,M=192", "hyperprior:N=16,M=192")
    return bundles | {name: load_subject(name, 768, 512) for name in bare}


@pytest.mark.parametrize("target", list_targets())
def test_a_predicted_record_is_what_would_be_predicted_now(target, subjects):
    """After a change of constants or of the model of costs the records are to be made again."""
    of_subjects = [r for r in find_records(target) if r.model.name in subjects]
    assert len(of_subjects) == len(subjects)
    for record in of_subjects:
        subject = subjects[record.model.name]
        if record.model.name in BUNDLES:
            assert subject.facts == record.model
            assert subject.quality == record.quality
        fresh = profile_target(subject, record.width, record.height, load_target(target), "")
        assert (fresh.size, fresh.macs, fresh.layers) == (record.size, record.macs, record.layers)
        assert fresh.notes == record.notes
        for now, then in zip(fresh.entries, record.entries, strict=True):
            assert (now.name, now.side, now.part, now.setting) == (
                *(then.name, then.side, then.part, then.setting),
            )
            for field in ("value", "low", "high"):
                a, b = getattr(now.quantity, field), getattr(then.quantity, field)
                assert (a is None and b is None) or a == pytest.approx(b, rel=1e-9)


@pytest.mark.parametrize("name", ["patch-large", "patch-medium", "patch-small"])
def test_a_shipped_bundle_names_the_weights_that_ship_beside_it(name):
    """Quantized after training it holds them; trained in bits it started from them."""
    manifest = read_bundle(named_bundle(name)).manifest
    held = sha256(shipped_path(f"{name}-float").read_bytes()).hexdigest()
    card = read_card(f"{name}-float")
    assert card.sha256 == held
    if manifest.card.quantized_steps:
        assert manifest.card.start == f"shipped {name}-float (sha256 {held[:16]})"
    else:
        assert manifest.provenance["sha256 of the weights"] == held
        assert (card.steps, card.hours) == (manifest.card.float_steps, manifest.card.hours)
