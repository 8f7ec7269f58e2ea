import dataclasses
import hashlib
import json
import subprocess
import sys

import pytest

from hwkd.errors import HwkdError, InputError
from hwkd.models import shipped
from hwkd.models.build import build
from hwkd.models.checkpoint import save_weights
from hwkd.models.spec import PatchSpec
from tests.fakes.cards import write_card

SPEC = PatchSpec(M=12, H=8, Z=8, C=16, widths=(16,), post=(8,))


@pytest.fixture
def ship(tmp_path, monkeypatch):
    """ship(half): a teacher "small" in a folder of its own; its card."""
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)

    def write(half=True):
        path = tmp_path / "small.safetensors"
        save_weights(path, build(SPEC), half=half, metadata={})
        card = shipped.WeightsCard(
            name="small",
            file=path.name,
            spec=SPEC,
            lmbda=0.025,
            steps=7,
            training="by hand",
            hours=1.5,
            hardware="2 cores",
            data="noise",
            licence="CC0",
            limits=("Noise only.", "One rate."),
            kodak_psnr_db=None,
            kodak_bpp=None,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        write_card(card)
        return card

    return write


def test_a_card_is_read_as_it_was_written(ship):
    card = ship()
    assert shipped.read_card("small") == card
    bare = dataclasses.replace(card, hours=None, limits=())
    write_card(bare)
    assert shipped.read_card("small") == bare


@pytest.mark.parametrize("key", ["hours", "hardware", "licence", "limits"])
def test_a_card_without_a_field_is_damaged(ship, tmp_path, key):
    ship()
    raw = json.loads((tmp_path / "small.json").read_text())
    del raw[key]
    (tmp_path / "small.json").write_text(json.dumps(raw))
    with pytest.raises(HwkdError, match="is not a card of a teacher"):
        shipped.read_card("small")


@pytest.mark.parametrize("half", [True, False])
def test_the_file_says_whether_its_weights_are_halved(ship, half):
    ship(half)
    assert shipped.is_half("small") is half


@pytest.mark.parametrize("content", [b"", b"12", b"\xff" * 64, b"\2\0\0\0\0\0\0\0[]"])
def test_a_file_that_is_none_of_weights_is_refused(ship, tmp_path, content):
    ship()
    (tmp_path / "small.safetensors").write_bytes(content)
    with pytest.raises(HwkdError, match=r"small.safetensors is not a file of weights"):
        shipped.is_half("small")


def test_no_such_teacher(ship):
    ship()
    with pytest.raises(InputError, match="unknown shipped teacher 'smal'"):
        shipped.read_card("smal")


def test_every_shipped_card_says_hours_hardware_licence_and_limits():
    for name in shipped.shipped_names():
        card = shipped.read_card(name)
        assert card.hours is not None and card.hours > 0
        assert card.hardware and card.licence and card.limits


def test_cards_are_read_without_torch():
    program = (
        "import sys, hwkd.models.shipped as s\n"
        "s.read_card('patch-q5'), s.is_half('patch-q5')\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
