"""The control arms: what each part of a recipe is worth. Pure."""

from hwkd.report.cells import NA
from hwkd.report.result_files import ControlArms
from hwkd.report.table import Table


def arms_table(control: ControlArms) -> Table:
    """A row for each arm, in the file's order, with the change of its loss against its model's first arm."""
    first: dict[str, float] = {}
    rows = []
    for arm in control.arms:
        reference = first.setdefault(arm.model, arm.rd_loss)
        rows.append(
            (
                arm.model,
                arm.arm,
                NA if arm.steps is None else str(arm.steps),
                f"{arm.psnr_db:.3f}",
                NA if arm.ms_ssim is None else f"{arm.ms_ssim:.5f}",
                f"{arm.bpp:.4f}",
                f"{arm.rd_loss:.4f}",
                f"{100 * (arm.rd_loss / reference - 1):+.2f}",
            )
        )
    notes = (
        f"{control.description.rstrip('.')}.",
        "rd_loss_percent: change of rd_loss against the model's first arm; negative is better.",
        *(f"{arm.model}, {arm.arm}: {arm.note.rstrip('.')}." for arm in control.arms if arm.note),
    )
    columns = ("model", "arm", "steps", "psnr_db", "ms_ssim", "bpp", "rd_loss", "rd_loss_percent")
    return Table("Control arms", columns, tuple(rows), notes)
