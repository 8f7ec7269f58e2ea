"""The curves that evaluated models form, their BD figures, and the file they are saved in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hwkd.cli.evaluate_models import EvaluatedModel, EvaluatedPoint
from hwkd.errors import InputError
from hwkd.metrics import BD_METHOD, Curve, bd_psnr_db, bd_rate_percent, shared_psnr_range
from hwkd.report.table import Table
from hwkd.results import Result, TrainedModel, write_result

if TYPE_CHECKING:
    from hwkd.measure.quality import Evaluation

NA = "n/a"


@dataclass(frozen=True)
class Evaluated:
    """One point and what it does to the images."""

    model: EvaluatedModel
    point: EvaluatedPoint
    evaluation: "Evaluation"


@dataclass(frozen=True)
class Group:
    """Models that form a curve. name: None where the user has not named it, and so does not mean one."""

    name: str | None
    models: tuple[EvaluatedModel, ...]

    def points(self, evaluated: Sequence[Evaluated]) -> list[Evaluated]:
        """Its points among `evaluated`, in order of rate."""
        own = [one for one in evaluated if any(one.model is model for model in self.models)]
        return sorted(own, key=lambda one: one.evaluation.bpp)

    def curve(self, evaluated: Sequence[Evaluated]) -> Curve:
        """The curve, with MS-SSIM only where every point has it.

        Raises:
            InputError: it has no name, or a point without error.
        """
        if self.name is None:
            raise InputError("name the curve that the models form with --curve NAME")
        return curve_of(self.name, [one.evaluation for one in self.points(evaluated)])


def curve_of(name: str, evaluations: "Sequence[Evaluation]") -> Curve:
    """`evaluations` as a curve, with MS-SSIM only where every one has it. Raises InputError as Curve."""
    ms_ssim = [e.ms_ssim for e in evaluations if e.ms_ssim is not None]
    return Curve(
        name,
        tuple(e.bpp for e in evaluations),
        tuple(e.psnr_db for e in evaluations),
        tuple(ms_ssim) if len(ms_ssim) == len(evaluations) else None,
    )


def groups_of(models: Sequence[EvaluatedModel], name: str | None) -> tuple[Group, ...]:
    """The curves that `models` form: each model of all rates one, those of one rate another together.

    Args:
        name: the user's, of the latter, or else of the only curve.
    Raises:
        InputError: a name, and two curves that it could be of.
    """
    whole = [model for model in models if model.serves_all_rates]
    single = tuple(model for model in models if not model.serves_all_rates)
    if name is not None and not single and len(whole) > 1:
        raise InputError(
            f"--curve names one curve, and {' and '.join(model.name for model in whole)} are one each: leave it out"
        )
    own_name = None if single else name
    groups = [Group(own_name or model.name, (model,)) for model in whole]
    if single:
        groups.append(Group(name, single))
    return tuple(groups)


def check_savable(groups: Sequence[Group]) -> None:
    """Raise InputError where one file cannot hold the curves."""
    if len(groups) > 1:
        raise InputError(
            f"--save-results holds one curve, and the models form {len(groups)}: evaluate them one at a time"
        )


def save_results(
    path: Path, group: Group, evaluated: Sequence[Evaluated], description: str
) -> None:
    """Write the curve of `group` with what is known of each point. Raises as hwkd.results.write_result."""
    named = replace(group, name=group.name or group.models[0].name)
    known = {id(model): model.trained() for model in group.models}
    trained = tuple(_trained(known[id(one.model)], one) for one in named.points(evaluated))
    write_result(path, Result(named.curve(evaluated), description, trained))


def _trained(known: TrainedModel, one: Evaluated) -> TrainedModel:
    """`known` with what is told of the point."""
    lmbda = one.point.lmbda
    loss = None if lmbda is None else one.evaluation.rd_loss(lmbda)
    return replace(known, quality=one.point.quality, lmbda=lmbda, rd_loss=loss)


def bd_table(
    title: str, groups: Sequence[Group], evaluated: Sequence[Evaluated], anchors: Sequence[Curve]
) -> Table:
    """BD-rate and BD-PSNR of each curve against each anchor; n/a with the reason in a note where there is none."""
    named = [group for group in groups if group.name is not None] or groups
    rows, notes = [], []
    for group in named:
        whose = f" of {group.name}" if len(named) > 1 else ""
        for anchor in anchors:
            rate = psnr = shared = NA
            try:
                curve = group.curve(evaluated)
                low, high = shared_psnr_range(anchor, curve)
                rate = f"{bd_rate_percent(anchor, curve):+.2f}"
                shared = f"{low:.2f} to {high:.2f}"
            except InputError as error:
                notes.append(f"BD figures{whose} against {anchor.name} are n/a: {error}.")
            else:
                # Curves that share PSNRs may share no rate.
                try:
                    psnr = f"{bd_psnr_db(anchor, curve):+.3f}"
                except InputError as error:
                    notes.append(f"bd_psnr_db{whose} against {anchor.name} is n/a: {error}.")
            rows.append((group.name or NA, anchor.name, rate, psnr, shared))
    notes.append(
        f"Interpolation: {BD_METHOD}. Negative BD-rate, positive BD-PSNR: better than the anchor."
    )
    columns = ("curve", "against", "bd_rate_percent", "bd_psnr_db", "shared_psnr_db")
    return Table(title, columns, tuple(rows), tuple(notes))
