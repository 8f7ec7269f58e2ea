"""All tables of a folder of results in their order."""

from hwkd.report.compare.published import read_paper
from hwkd.report.published_curves import read_published_curves
from hwkd.report.result_files import ResultFiles
from hwkd.report.results import models_table
from hwkd.report.results_arms import arms_table
from hwkd.report.results_quantized import quantized_table
from hwkd.report.results_rates import rate_tables
from hwkd.report.table import Table


def results_tables(files: ResultFiles, fmt: str) -> tuple[Table, ...]:
    """Models as they ship, rates against published curves, quantized against float, control arms: what there is a file for.

    Args:
        fmt: of hwkd.report.table.FORMATS; what is one cell for people is several for machines.

    Raises:
        HwkdError: the published figures are missing or damaged, or a package for BD-rates is not installed.
    """
    tables: list[Table] = []
    if files.results:
        published = read_published_curves()
        tables.append(models_table(files.shipped, published, read_paper()))
        tables += rate_tables(files.results, published, fmt)
        quantized = quantized_table(files)
        if quantized is not None:
            tables.append(quantized)
    if files.arms is not None:
        tables.append(arms_table(files.arms))
    return tuple(tables)
