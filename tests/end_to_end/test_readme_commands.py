"""Every `hwkd` line in the blocks of README.md and hwkd/COMMANDS.md runs, from top to bottom, in one folder, as a reader would type them.

What a reader would have is made here: photographs, a model card. Only amounts are made small (SMALLER, ADDED), the sizes of
networks among them: the teacher is a tiny one.
"""

import json
import re
import shlex
import shutil
import tarfile
from pathlib import Path

import pytest
from PIL import Image, ImageOps

import hwkd
from hwkd.cli.main import main
from hwkd.files import data_folder
from hwkd.measure.eager.benchmark_networks import NETWORKS

ROOT = Path(hwkd.__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "hwkd/COMMANDS.md")]
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(
        r"^```sh\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
]
LINES = [line for block in BLOCKS for line in block.splitlines() if line.startswith("hwkd ")]

SMALLER = {
    "--minutes": "0.005",
    "--steps": "2",
    "--qat-steps": "1",
    "--width": "16",
    "--threads": "1",
    "--teacher": "teacher.safetensors",  # bmshj2018-hyperprior:5 comes from a server
}
"""What the value of an option becomes; a value of 0 stays."""

TRAINING = (
    "--teacher teacher.safetensors --width 16 --hyper 8 --hyper-latent 8 --crop 64 --batch 2 --cache-crops 4 --threads 1 "
    "--evaluate photos/"
)
ADDED = {
    "distill": TRAINING,
    "fit": "--trials 1 --steps 2 --family patch --teacher teacher.safetensors --crop 64 --batch 2 --pool 4 --threads 1",
    "fit --worker": "--threads 1",
    "sensitivity": "--bits 5,3 --crop 64 --evaluate kodak/",
    "quantize": "--evaluate photos/",
    "profile": "--size 128x128 --seconds 0.1 --no-memory --threads 1 --energy none",
    "bench": "--seconds 0.1 --size 64x64",
    "verify": "--images 2",
    "targets validate": "--timings timings.json",
}
"""More words for a command, or for a command and its action, where its line does not hold them."""

CONFIGURATIONS = 40
"""Of the 262 published ones, in timings.json."""

SLOW_NETWORKS = ("vgg16", "alexnet", "resnet50", "efficientnet_b0", "regnety_400m", "googlenet")
"""Whose layers `targets validate` goes without: half of the time would go into them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, made_photos, made_teacher):
    """The reader's folder: photos/, kodak/, shards/, photo.jpg, card.toml, timings.json and the tiny teacher."""
    place = tmp_path_factory.mktemp("reader")
    shutil.copy(made_teacher, place / "teacher.safetensors")
    (place / "photos").mkdir()
    (place / "kodak").mkdir()
    for i, image in enumerate(made_photos):
        image.save(place / "photos" / f"{i}.png")
        # Others: a copy of what a model is trained on is refused where it is to be judged.
        ImageOps.mirror(image).save(place / "kodak" / f"{i}.png")
    (place / "shards").mkdir()
    with tarfile.open(place / "shards/000.tar", "w") as shard:
        for image in (place / "photos").iterdir():
            shard.add(image, image.name)
    made_photos[0].save(place / "photo.jpg", quality=95)
    (place / "card.toml").write_text(
        'data = "images made in code"\nlicence = "none needed"\nhardware = "a test"\n'
    )
    timings = json.loads((data_folder("profiles") / "published/ncnn-benchmark.json").read_text())
    timings["rows"] = timings["rows"][:CONFIGURATIONS]
    (place / "timings.json").write_text(json.dumps(timings))
    return place


@pytest.fixture(autouse=True, scope="module")
def brief_measurements(brief_latencies, brief_export):
    """Less is measured than a reader's commands would."""
    networks = {name: one for name, one in NETWORKS.items() if name not in SLOW_NETWORKS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hwkd.distill.train.TIMED_STEPS", 2)
        # An estimate by the processor's time needs a few of its ticks.
        patch.setattr("hwkd.measure.energy.measure.MIN_WINDOW_S", 0.05)
        patch.setattr("hwkd.measure.energy.measure.SETTLE_S", 0.0)
        patch.setattr("hwkd.measure.energy.measure.SECONDS", 0.1)
        patch.setattr("hwkd.measure.eager.benchmark_networks.NETWORKS", networks)
        patch.setattr("hwkd.report.plots.figures.KINDS", ("svg",))
        yield


@pytest.fixture(scope="module")
def made_photos(photo):
    return [Image.fromarray(photo(176, 192, seed)) for seed in range(3)]


def shortened(line):
    """The words of `line` with small amounts."""
    _, *words = shlex.split(line, comments=True)
    for place, word in enumerate(words[:-1]):
        if word in SMALLER and words[place + 1] != "0":
            words[place + 1] = SMALLER[word]
    if "--recipes" in words:
        return words
    added = shlex.split(ADDED.get(" ".join(words[:2]), ADDED.get(words[0], "")))
    for option in [word for word in added if word.startswith("--")]:
        if option in words:
            place = added.index(option)
            del added[place : place + 2]
    is_training = words[0] == "distill" and not {"--minutes", "--steps"} & set(words)
    return [*words, *added, *(("--steps", "2", "--qat-steps", "1") if is_training else ())]


def test_the_documents_have_commands_to_run():
    assert len(LINES) > 30


@pytest.mark.parametrize("line", LINES)
def test_a_command_of_the_documents_runs(line, folder, monkeypatch, capsys, in_one_thread):
    monkeypatch.chdir(folder)
    code = main(shortened(line))
    assert code == 0, capsys.readouterr().err


def test_what_the_commands_promise_to_write_is_there(folder):
    """After all of them: the files named by -o and the like."""
    written = [
        *(
            "photo.hwk",
            "photo.png",
            "pi.png",
            "pi.hwkd",
            "nano.hwkd",
            "streams",
            "my-board.toml",
        ),
        *(
            "rd.svg",
            "report.html",
            "visual.html",
            "figures/captions.md",
            "records",
            "runs/pi/report.md",
        ),
    ]
    assert [name for name in written if not (folder / name).exists()] == []
