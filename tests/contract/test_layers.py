"""Imports run down only; torch and compressai stay where they belong. Every failure names file and line."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import hwkd

ROOT = Path(hwkd.__file__).resolve().parent.parent

GROUND_FLOOR = {
    "hwkd",
    "hwkd.constants",
    "hwkd.data",
    "hwkd.bits",
    "hwkd.errors",
    "hwkd.facts",
    "hwkd.files",
    "hwkd.image_formats",
    "hwkd.image_pixels",
    "hwkd.images",
    "hwkd.metrics",
    "hwkd.qualities",
    "hwkd.quantity",
    "hwkd.results",
    "hwkd.target",
    "hwkd.target_file",
    "hwkd.schema",
    "hwkd.units",
}
LAYERS = (
    "runtime",
    "codec",
    "models",
    "quantize",
    "distill",
    "export",
    "measure",
    "search",
    "report",
    "cli",
)
"""Folders of hwkd/, the lowest first; below them lies the ground floor."""

WITHOUT_TORCH = (
    *GROUND_FLOOR,
    "hwkd.codec",
    "hwkd.runtime",
    "hwkd.export.card",
    "hwkd.quantize.precision",
    "hwkd.distill.events",
    "hwkd.distill.in_memory",
    "hwkd.distill.recipe",
    "hwkd.distill.decode",
    "hwkd.distill.stream_catalogue",
    "hwkd.distill.stream_decoding",
    "hwkd.distill.stream_entries",
    "hwkd.distill.stream_order",
    "hwkd.distill.stream_tasks",
    "hwkd.distill.stream_workers",
    "hwkd.quantize.export_form",
    "hwkd.measure.allocator",
    "hwkd.measure.allocations",
    "hwkd.measure.board_constants",
    "hwkd.measure.bundle_costs",
    "hwkd.measure.memory_child",
    "hwkd.measure.bundles",
    "hwkd.measure.coder",
    "hwkd.measure.bundle_subject",
    "hwkd.measure.card_figures",
    "hwkd.measure.classic",
    "hwkd.measure.classic_energy",
    "hwkd.measure.classic_quality",
    "hwkd.measure.energy.codecarbon",
    "hwkd.measure.predict.fit",
    "hwkd.measure.cost_predict",
    "hwkd.measure.emissions",
    "hwkd.measure.energy.measure",
    "hwkd.measure.energy_entries",
    "hwkd.measure.host",
    "hwkd.measure.energy.ina3221",
    "hwkd.measure.timing",
    "hwkd.measure.layers",
    "hwkd.measure.layer_shapes",
    "hwkd.measure.left_out",
    "hwkd.measure.links",
    "hwkd.measure.machine",
    "hwkd.measure.machine_limits",
    "hwkd.measure.machine_packages",
    "hwkd.measure.memory",
    "hwkd.measure.energy.meter",
    "hwkd.measure.energy.sensors",
    "hwkd.measure.energy.nvml",
    "hwkd.measure.picture",
    "hwkd.measure.pinning",
    "hwkd.measure.predict.target",
    "hwkd.measure.profile",
    "hwkd.measure.predict.published",
    "hwkd.measure.quality",
    "hwkd.measure.energy.rapl",
    "hwkd.measure.record",
    "hwkd.measure.record_file",
    "hwkd.measure.save_target",
    "hwkd.measure.sensitivity",
    "hwkd.measure.shipped_records",
    "hwkd.measure.slower_side",
    "hwkd.measure.predict.constants",
    "hwkd.measure.visual_codecs",
    "hwkd.measure.watch",
    "hwkd.search.cost",
    "hwkd.search.fitting",
    "hwkd.search.found",
    "hwkd.search.halving",
    "hwkd.search.layers",
    "hwkd.search.life",
    "hwkd.search.predicted",
    "hwkd.search.sampler",
    "hwkd.search.settings",
    "hwkd.search.space",
    "hwkd.search.storage",
    "hwkd.search.study",
    "hwkd.models.shipped",
    "hwkd.models.spec",
    "hwkd.report.accuracy",
    "hwkd.report.bench_tables",
    "hwkd.report.compare.break_even",
    "hwkd.report.bundles",
    "hwkd.report.card_tables",
    "hwkd.report.cells",
    "hwkd.report.columns",
    "hwkd.report.compared",
    "hwkd.report.comparison",
    "hwkd.report.compare.tables",
    "hwkd.report.comparison_tables",
    "hwkd.report.doctor",
    "hwkd.report.figure_bars",
    "hwkd.report.figure_font",
    "hwkd.report.figure_labels",
    "hwkd.report.plots.draw_matplotlib",
    "hwkd.report.plots.style",
    "hwkd.report.plots.figures",
    "hwkd.report.fit_notes",
    "hwkd.report.fit",
    "hwkd.report.fit_result",
    "hwkd.report.fit_tables",
    "hwkd.report.gathered",
    "hwkd.report.glance",
    "hwkd.report.model_tables",
    "hwkd.report.page.page",
    "hwkd.report.page_axes",
    "hwkd.report.plots.draw_plotly",
    "hwkd.report.page_cells",
    "hwkd.report.page_drawing",
    "hwkd.report.page_figures",
    "hwkd.report.numbers",
    "hwkd.report.page_plots",
    "hwkd.report.page_scatter",
    "hwkd.report.page_styles",
    "hwkd.report.page_tables",
    "hwkd.report.compare.paper",
    "hwkd.report.pareto",
    "hwkd.report.plots.plot",
    "hwkd.report.plot_cost_notes",
    "hwkd.report.plot_cost_points",
    "hwkd.report.plots.costs",
    "hwkd.report.plot_layer_times",
    "hwkd.report.plots.layers",
    "hwkd.report.plots.rd",
    "hwkd.report.plots.training",
    "hwkd.report.plot_words",
    "hwkd.report.page.plots",
    "hwkd.report.profile",
    "hwkd.report.compare.published",
    "hwkd.report.published_curves",
    "hwkd.report.rd_plot",
    "hwkd.report.result_files",
    "hwkd.report.results_arms",
    "hwkd.report.results",
    "hwkd.report.results_page",
    "hwkd.report.results_quantized",
    "hwkd.report.results_rates",
    "hwkd.report.row_figures",
    "hwkd.report.run_figures",
    "hwkd.report.run",
    "hwkd.report.plots.sensitivity",
    "hwkd.report.sensitivity_file",
    "hwkd.report.sensitivity_recipe",
    "hwkd.report.sensitivity",
    "hwkd.report.compare.rows",
    "hwkd.report.page.sources",
    "hwkd.report.stream_tables",
    "hwkd.report.table",
    "hwkd.report.target_cards",
    "hwkd.report.targets",
    "hwkd.report.page.templating",
    "hwkd.report.training_log",
    "hwkd.report.verify_tables",
    "hwkd.report.page.visual",
    "hwkd.report.visual_crop",
    "hwkd.report.visual_page",
    "hwkd.cli.coding_codecs",
    "hwkd.cli.coding",
    "hwkd.cli.coding_options",
    "hwkd.cli.coding_run",
    "hwkd.cli.compare",
    "hwkd.cli.compare_results",
    "hwkd.cli.compare_link",
    "hwkd.cli.distill_options",
    "hwkd.cli.distill_recipe",
    "hwkd.cli.decode",
    "hwkd.cli.doctor",
    "hwkd.cli.encode",
    "hwkd.cli.fit",
    "hwkd.cli.fit_costs",
    "hwkd.cli.fit_options",
    "hwkd.cli.fit_output",
    "hwkd.cli.fit_recipe",
    "hwkd.cli.fit_settings",
    "hwkd.cli.info",
    "hwkd.cli.models",
    "hwkd.cli.output",
    "hwkd.cli.profile",
    "hwkd.cli.profile_models",
    "hwkd.cli.profile_options",
    "hwkd.cli.report",
    "hwkd.cli.report_images",
    "hwkd.cli.sensitivity",
    "hwkd.cli.sensitivity_inputs",
    "hwkd.cli.sensitivity_model",
    "hwkd.cli.sensitivity_output",
    "hwkd.cli.targets",
    "hwkd.cli.targets_fit",
    "hwkd.cli.verify",
)
"""Modules, and folders with all in them, that import neither torch nor compressai."""

HEAVY = ("torch", "compressai")
COMPRESSAI_DOOR = "hwkd.models.compat"


@dataclass(frozen=True)
class Import:
    """One imported module in one line; deferred: inside a function, or for the type checker only."""

    importer: str
    place: str
    imported: str
    is_deferred: bool

    def __str__(self) -> str:
        return f"{self.place}: {self.importer} imports {self.imported}"


def modules(root: Path) -> dict[str, Path]:
    """Every module under root/hwkd by its dotted name."""
    found = {}
    for path in sorted((root / "hwkd").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name: str, root: Path, known: dict[str, Path]) -> list[Import]:
    """All imports in one module, with the submodule where `from package import submodule` names one."""
    path = known[name]
    found = []
    for node, is_deferred in _walk(ast.parse(path.read_text(encoding="utf-8")), False):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, name, path.name == "__init__.py")
            candidates = [f"{base}.{alias.name}" for alias in node.names]
            targets = [full if full in known else base for full in candidates]
        else:
            continue
        place = f"{path.relative_to(root).as_posix()}:{node.lineno}"
        found += [Import(name, place, target, is_deferred) for target in dict.fromkeys(targets)]
    return found


def _walk(node: ast.AST, is_deferred: bool) -> Iterator[tuple[ast.AST, bool]]:
    yield node, is_deferred
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for child in node.body:
            yield from _walk(child, True)
        for child in node.orelse:
            yield from _walk(child, is_deferred)
        return
    is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, is_deferred or is_function)


def _absolute(node: ast.ImportFrom, importer: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    package = importer.split(".")
    package = package[: len(package) - node.level + is_package]
    return ".".join([*package, *([node.module] if node.module else [])])


def layer_of(module: str) -> int | None:
    """0 for the ground floor, then upwards; None for a module that has no place yet."""
    if module in GROUND_FLOOR:
        return 0
    if module == "hwkd.__main__":
        return len(LAYERS)
    folder = module.split(".")[1]
    return LAYERS.index(folder) + 1 if folder in LAYERS else None


def all_imports(root: Path) -> list[Import]:
    known = modules(root)
    return [found for name in known for found in imports_of(name, root, known)]


def upward(root: Path) -> list[str]:
    """Imports of a higher layer from a lower one."""
    return [
        str(found)
        for found in all_imports(root)
        if found.imported.split(".")[0] == "hwkd"
        and (layer_of(found.importer) or 0) < (layer_of(found.imported) or 0)
    ]


def heavy(root: Path, light: tuple[str, ...]) -> list[str]:
    """Chains of module-level imports that lead from a light module to torch or compressai."""
    known = modules(root)
    steps = cache(lambda module: imports_of(module, root, known))
    found = []
    for start in known:
        if start not in light and not any(
            start.startswith(f"{folder}.") for folder in light if folder not in GROUND_FLOOR
        ):
            continue
        seen, waiting = {start}, [start]
        while waiting:
            module = waiting.pop()
            for step in steps(module):
                if step.is_deferred:
                    continue
                if step.imported.split(".")[0] in HEAVY:
                    found.append(f"{step} (reached from {start})")
                # Importing a.b.c runs a/__init__ and a/b/__init__ as well.
                parts = step.imported.split(".")
                names = [".".join(parts[: i + 1]) for i in range(len(parts))]
                new = [n for n in names if n in known and n not in seen]
                seen.update(new)
                waiting += new
    return found


def foreign_doors(root: Path) -> list[str]:
    """Imports of compressai from anywhere but the one module that mends it."""
    return [
        str(found)
        for found in all_imports(root)
        if found.imported.split(".")[0] == "compressai" and found.importer != COMPRESSAI_DOOR
    ]


def report(offences: list[str]) -> str:
    return "\n" + "\n".join(offences)


def test_every_module_has_a_layer():
    lost = [str(path) for name, path in modules(ROOT).items() if layer_of(name) is None]
    assert not lost, report([*lost, "give each a layer in tests/contract/test_layers.py"])


def test_imports_run_down_only():
    offences = upward(ROOT)
    assert not offences, report(offences)


def test_light_modules_reach_neither_torch_nor_compressai():
    offences = heavy(ROOT, WITHOUT_TORCH)
    assert not offences, report(offences)


def test_compressai_is_imported_through_compat_only():
    offences = foreign_doors(ROOT)
    assert not offences, report(offences)


def test_planning_for_a_target_loads_no_torch():
    names = [n for n in WITHOUT_TORCH if n in modules(ROOT)]
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def tree(root: Path, **files: str) -> Path:
    """A package hwkd under `root`; keys are paths with __ for a slash."""
    for name, text in files.items():
        path = root / "hwkd" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_an_upward_import_is_found_with_its_line(tmp_path):
    root = tree(tmp_path, cli__main="", models__base='"""Doc."""\n\nimport hwkd.cli.main\n')
    assert upward(root) == ["hwkd/models/base.py:3: hwkd.models.base imports hwkd.cli.main"]


def test_an_upward_import_inside_a_function_is_found(tmp_path):
    root = tree(tmp_path, cli__main="", data="def f():\n    from hwkd.cli import main\n")
    assert upward(root) == ["hwkd/data.py:2: hwkd.data imports hwkd.cli.main"]


def test_a_relative_upward_import_is_found(tmp_path):
    root = tree(tmp_path, cli__main="", models__base="from ..cli import main\n")
    assert upward(root) == ["hwkd/models/base.py:1: hwkd.models.base imports hwkd.cli.main"]


def test_torch_behind_another_module_is_found(tmp_path):
    root = tree(tmp_path, target="import hwkd.data\n", data="import torch.nn\n")
    assert heavy(root, ("hwkd.target",)) == [
        "hwkd/data.py:1: hwkd.data imports torch.nn (reached from hwkd.target)"
    ]


def test_torch_inside_a_function_or_for_types_is_allowed(tmp_path):
    text = "if TYPE_CHECKING:\n    import torch\n\n\ndef f():\n    import torch\n"
    assert heavy(tree(tmp_path, data=text), ("hwkd.data",)) == []


def test_compressai_outside_compat_is_found(tmp_path):
    root = tree(tmp_path, models__compat="import compressai\n", cli__main="import compressai\n")
    assert foreign_doors(root) == ["hwkd/cli/main.py:1: hwkd.cli.main imports compressai"]
