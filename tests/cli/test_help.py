import shlex
import subprocess
import sys
from importlib import import_module

import pytest
from PIL import Image

from hwkd.cli.main import COMMANDS, build_parser, main


def examples(text):
    """The commands below "examples:" in a help text."""
    _, found, below = text.partition("examples:\n")
    assert found, text
    return [line.strip() for line in below.splitlines() if line.strip()]


def module_name(command):
    return f"hwkd.cli.{COMMANDS[command][0]}.{command}"


def module_of(command):
    return import_module(module_name(command))


def help_of(capsys, *words):
    assert main([*words, "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize("words", [(), *((name,) for name in COMMANDS)], ids=" ".join)
def test_help_shows_examples_that_parse(capsys, words):
    lines = examples(help_of(capsys, *words))
    assert len(lines) >= 2
    for line in lines:
        program, *argv = shlex.split(line.partition(" < ")[0])
        if program == "torchrun":
            program, argv = argv[argv.index("-m") + 1], argv[argv.index("-m") + 2 :]
        assert program == "hwkd"
        assert not words or argv[0] == words[0]
        assert build_parser().parse_args(argv).command == argv[0]


def test_the_main_help_names_every_command_with_its_purpose(capsys):
    text = " ".join(help_of(capsys).split())
    for _, line in COMMANDS.values():
        assert line in text


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_of_commands_says_what_the_command_says(name):
    assert COMMANDS[name][1] == module_of(name).HELP


def loaded_modules(*words):
    """What a process holds after `hwkd WORDS`."""
    program = (
        "import sys\n"
        "from hwkd.cli.main import main\n"
        f"main({list(words)!r})\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("words", [("--version",), ("--help",)], ids=" ".join)
def test_the_version_and_the_list_of_commands_import_no_command(words):
    loaded = loaded_modules(*words)
    assert {name for name in loaded if name.startswith("hwkd.")} == {
        *("hwkd.cli", "hwkd.cli.main", "hwkd.cli.talk", "hwkd.errors")
    }
    assert not loaded & {"numpy", "PIL", "rich", "torch"}


def test_a_command_imports_no_other():
    loaded = loaded_modules("decode", "--help")
    assert not {module_name(name) for name in COMMANDS if name != "decode"} & loaded
    assert not loaded & {"llvmlite", "onnxruntime", "openvino", "rich", "torch"}


def test_encoding_one_image_loads_what_it_runs(tmp_path):
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 64), "teal").save(photo)
    loaded = loaded_modules("encode", str(photo))
    assert photo.with_name("photo.png.hwk").is_file()
    assert "onnxruntime" in loaded
    # Each of the first two takes longer to load than the image to encode.
    assert not loaded & {"llvmlite", "openvino", "rich", "torch", "hwkd.measure", "hwkd.report"}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_80_columns_but_for_the_examples(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "80")
    usage = help_of(capsys, name).partition("examples:")[0]
    purpose = module_of(name).HELP
    assert not [line for line in usage.splitlines() if len(line) > 80 and line != purpose]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name):
    (action,) = (a for a in build_parser()._actions if a.dest == "command")
    command = action.choices[name]
    command.configure()
    assert len(command._actions) > 1
    for option in command._actions:
        assert option.help or option.dest == "action", option.dest


def test_the_parser_needs_no_torch_compressai_or_brevitas():
    program = (
        "import sys\n"
        "from hwkd.cli.main import build_parser, main\n"
        "build_parser()\n"
        "print([n for n in ('torch', 'compressai', 'brevitas', 'torchao') if n in sys.modules])\n"
        "main(['distill', '--target', 'jetson-nanu'])\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[]", "False"]
    assert done.stderr.startswith("hwkd: error: unknown target 'jetson-nanu': did you mean")


def test_no_command_is_one_line_that_lists_them(capsys):
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "hwkd: error: no command given: it is one of distill, fit, quantize, sensitivity, export, evaluate, profile, compare, "
        "encode, decode, info, verify, bench, report, models, targets, doctor (see `hwkd --help`)\n"
    )


def test_an_unknown_command_suggests_the_near_one(capsys):
    assert main(["distil", "--target", "jetson-nano"]) == 2
    assert capsys.readouterr().err == (
        "hwkd: error: unknown command 'distil': did you mean distill? "
        "Known: bench, compare, decode, distill, doctor, encode, evaluate, export, fit, info, models, profile, quantize, "
        "report, sensitivity, targets, verify (see `hwkd --help`)\n"
    )


def test_an_unknown_option_is_one_line(capsys):
    assert main(["models", "--fromat", "md"]) == 2
    assert capsys.readouterr().err == (
        "hwkd: error: unrecognized arguments: --fromat md: did you mean --format? (see `hwkd models --help`)\n"
    )


def test_options_are_not_abbreviated(capsys):
    assert main(["distill", "--target", "jetson-nano", "--min", "1"]) == 2
    assert "unrecognized arguments: --min 1" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys):
    import hwkd

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"hwkd {hwkd.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_where_its_help_is(capsys, name):
    assert main([name, "--no-such-option"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.endswith(f"(see `hwkd {name} --help`)\n")


def test_a_wrong_word_of_an_action_is_answered_by_the_actions_help(capsys):
    assert main(["targets", "show", "jetson-nano", "--no-such-option"]) == 2
    assert capsys.readouterr().err.endswith("(see `hwkd targets show --help`)\n")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_completion_script_names_every_command(capsys, shell):
    assert main(["--print-completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in COMMANDS)
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_completion_of_bash_knows_options_and_files(tmp_path, capsys):
    main(["--print-completion", "bash"])
    (tmp_path / "photo.jpg").touch()
    script = capsys.readouterr().out + (
        "complete -p hwkd >/dev/null\n"
        'f=$(complete -p hwkd | sed "s/.*-F \\([^ ]*\\).*/\\1/")\n'
        'go(){ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); $f; echo "${COMPREPLY[@]}"; }\n'
        "go hwkd enc; go hwkd encode --max-b; go hwkd encode pho\n"
    )
    done = subprocess.run(
        ["bash", "--norc"], input=script, text=True, capture_output=True, cwd=tmp_path, check=True
    )
    assert done.stdout.split("\n")[:3] == ["encode", "--max-bytes", "photo.jpg"]


def test_a_reader_that_has_had_enough_is_no_traceback():
    program = f"{sys.executable} -m hwkd targets show jetson-nano --format csv | head -n 1"
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True)
    assert done.stdout.startswith("fact,value,")
    assert done.stderr == ""


def test_the_parser_needs_no_shtab():
    program = "import sys; from hwkd.cli.main import build_parser; build_parser(); assert 'shtab' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_command_without_its_packages_says_what_to_install(monkeypatch, capsys):
    def run(_):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("hwkd.cli.showing.models.run", run)
    assert main(["models"]) == 1
    assert capsys.readouterr().err == (
        'hwkd: error: this takes torch, which is not installed: pip install "hwkd[train]" in an environment with '
        "CPython 3.11 or 3.12\n"
    )


def test_a_module_of_hwkd_that_is_missing_is_no_lack_of_packages(monkeypatch, capsys):
    def run(_):
        raise ModuleNotFoundError("No module named 'hwkd.none'", name="hwkd.none")

    monkeypatch.setattr("hwkd.cli.showing.models.run", run)
    assert main(["models"]) == 1
    assert "this should not happen, ModuleNotFoundError" in capsys.readouterr().err
