import pytest

from hwkd.cli.main import main
from hwkd.cli.model_names import SHIPPED_FIRST, refuse_unknown
from hwkd.codec import shipped
from hwkd.errors import InputError

ZOO = "bmshj2018-hyperprior, hyperprior-64, little, mbt2018-mean, patch-q5"


@pytest.fixture(autouse=True)
def shelf(tmp_path, monkeypatch):
    """One bundle ships, "little", beside two teachers; the current folder is another."""
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped/little.hwkd").touch()
    (tmp_path / "here").mkdir()
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr("hwkd.models.shipped.shipped_names", lambda: ["hyperprior-64", "patch-q5"])
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_a_name_that_is_nobodys_lists_bundles_and_teachers():
    with pytest.raises(InputError) as error:
        refuse_unknown(["patch-q5", "litle"])
    assert str(error.value) == (
        f"unknown model 'litle': did you mean little? Known: {ZOO} (see `hwkd models`)"
    )
    with pytest.raises(InputError) as error:
        refuse_unknown(["zzz"])
    assert str(error.value) == f"unknown model 'zzz': known are {ZOO} (see `hwkd models`)"


def test_a_run_in_the_current_folder_keeps_its_name(shelf):
    (shelf / "student").mkdir()
    refuse_unknown(["student"])
    (shelf / "student").rmdir()
    with pytest.raises(InputError, match="unknown model 'student'"):
        refuse_unknown(["student"])


@pytest.mark.parametrize(
    "text",
    ["none.hwkd", "none.pth.tar", "runs/none", "./little", "bmshj2018-hyperprior:5", "run:float"],
)
def test_what_is_no_bare_name_is_judged_where_it_is_loaded(text):
    refuse_unknown([text])


@pytest.mark.parametrize("command", ["evaluate", "profile"])
def test_a_mistyped_bundle_is_told_without_torch(refused, monkeypatch, command):
    monkeypatch.setattr("hwkd.cli.measuring.profile.installed_version", lambda name: None)
    assert refused([command, "litle"]).startswith("unknown model 'litle': did you mean little?")


@pytest.mark.parametrize("command", ["verify", "bench"])
def test_a_mistyped_bundle_lists_bundles_alone_where_no_other_is_taken(refused, command):
    argv = [command, "litle"] + (["--runtime", "onnxruntime"] if command == "bench" else [])
    assert refused(argv) == "unknown model 'litle': did you mean little? Known: little"


@pytest.mark.parametrize("command", ["evaluate", "profile", "info", "verify", "bench"])
def test_every_help_says_which_comes_first(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "200")
    assert main([command, "--help"]) == 0
    assert SHIPPED_FIRST in " ".join(capsys.readouterr().out.split())
