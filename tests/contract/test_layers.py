"""What is a property of folders: torch loads in some only, and imports run down (pyproject.toml, tool.importlinter)."""

import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

import hwkd

ROOT = Path(hwkd.__file__).resolve().parent.parent

WITH_TORCH = (
    "hwkd.models",
    "hwkd.quantize",
    "hwkd.distill",
    "hwkd.export",
    "hwkd.measure.eager",
    "hwkd.search.train",
)
"""Packages and modules that may load torch; no other may, not by what it imports either."""

HEAVY = ("torch", "compressai", "brevitas", "torchao", "torchvision")

EXTRAS = (
    "optuna",
    "sqlalchemy",
    "onnx",
    "onnxruntime",
    "openvino",
    "matplotlib",
    "plotly",
    "jinja2",
    "scipy",
    "codecarbon",
)
"""What an extra brings: a command is described without any of it, so none may come with the commands."""


def modules() -> list[str]:
    """Every module of hwkd by its dotted name."""
    found = []
    for path in sorted((ROOT / "hwkd").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def may_load_torch(module: str) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in WITH_TORCH)


def loaded_by(names: list[str], watched: tuple[str, ...]) -> str:
    """Of `watched`, the packages that stand in sys.modules once `names` are imported, as a list in words."""
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"print([name for name in {watched!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_outside_its_folders_nothing_loads_torch():
    light = [name for name in modules() if not may_load_torch(name) and name != "hwkd.__main__"]
    assert len(light) > 100
    assert loaded_by(light, HEAVY) == "[]"


def test_a_folder_with_torch_is_there_and_loads_it():
    for place in WITH_TORCH:
        assert place in modules()
    assert loaded_by(["hwkd.models.base"], ("torch",)) == "['torch']"


def test_the_commands_need_no_extra():
    commands = [name for name in modules() if name.startswith("hwkd.cli")]
    assert loaded_by(commands, EXTRAS) == "[]"


def test_imports_run_down_only():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_no_import_runs_in_a_circle():
    graph = grimp.build_graph("hwkd", exclude_type_checking_imports=True, cache_dir=None)
    names = graph.modules - {"hwkd"}
    imports = {name: graph.find_modules_directly_imported_by(name) & names for name in names}
    TopologicalSorter(imports).prepare()  # raises CycleError
