"""The models of `hwkd profile`, in torch or as bundles: loaded, evaluated and measured each in its own way.

Torch is imported only for a model that takes it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hwkd.bits import BitPlan
from hwkd.errors import InputError
from hwkd.images import ImageSource
from hwkd.measure.bundle_subject import BundleSubject, evaluated_bundle, load_bundle_subject
from hwkd.measure.bundles import bundle_steps, profile_bundle, runtimes_for
from hwkd.measure.machine_packages import installed_version
from hwkd.measure.profile import Profiled, Wanted
from hwkd.measure.record import Record
from hwkd.runtime.bundle import BUNDLE_SUFFIX, is_bundle

if TYPE_CHECKING:
    from hwkd.measure.eager.models import Subject

    Model = Subject | BundleSubject


def default_models() -> list[str]:
    """The newest run in runs/, or else the default teacher. Raises as `check_torch`."""
    check_torch(("the default model",))
    from hwkd.measure.eager.models import newest_run
    from hwkd.models.teacher import DEFAULT

    return [newest_run() or DEFAULT]


def check_torch(texts: Sequence[str]) -> None:
    """Refuse a model that takes torch where that is not installed.

    Raises:
        InputError: there is one among `texts`.
    """
    others = [text for text in texts if not is_bundle(text)]
    if others and installed_version("torch") is None:
        raise InputError(
            f'{others[0]} takes torch, which is not installed: pip install "hwkd[train]", or give a bundle '
            f"({BUNDLE_SUFFIX})"
        )


def load_model(text: str, width: int, height: int, bits: BitPlan | None) -> "Model":
    """The model that `text` names, for images of width x height; a bare architecture as quantized to `bits`.

    Raises:
        InputError: as hwkd.measure.bundle_subject.load_bundle_subject, or hwkd.measure.eager.models.load_subject.
    """
    if is_bundle(text):
        return load_bundle_subject(text, width, height)
    from hwkd.measure.eager.models import load_subject, quantized

    subject = load_subject(text, width, height)
    return subject if bits is None else quantized(subject, bits)


def check_quality_of(quality: int, subjects: Sequence["Model"]) -> None:
    """Refuse a quality that was asked for where a model of all rates lacks it, or where there is no such model."""
    of_all_rates = [(s.facts.name, s.qualities) for s in subjects if s.qualities is not None]
    if not of_all_rates:
        raise InputError(
            f"{subjects[0].facts.name} codes at one rate and takes no quality; leave --quality out, or give a model of all "
            "rates"
        )
    for name, (low, high) in of_all_rates:
        if not low <= quality <= high:
            raise InputError(
                f"a quality of {name} must be a whole number from {low} to {high}, got {quality}"
            )


def evaluated_model(subject: "Model", images: ImageSource, quality: int) -> "Model":
    """`subject` with its quality measured on `images`; at `quality`, where it has all rates."""
    own = None if subject.qualities is None else quality
    if isinstance(subject, BundleSubject):
        return evaluated_bundle(subject, images, own)
    from hwkd.measure.eager.models import evaluated

    return evaluated(subject, images, own)


def check_names(subjects: Sequence[Profiled]) -> None:
    """Refuse two models of one name: the tables and --save tell models apart by it."""
    found: dict[str, Profiled] = {}
    for subject in subjects:
        other = found.setdefault(file_name(subject.facts.name), subject)
        if other is not subject:
            raise InputError(
                f"{other.text} and {subject.text} are both called {subject.facts.name}, so that their rows and files "
                "could not be told apart: profile one at a time, or rename a folder"
            )


def file_name(model: str) -> str:
    """A model's name as a file's: with what none may have replaced, and in small letters."""
    kept = [c if c.isalnum() or c in "._-" else " " for c in model.lower()]
    return "-".join("".join(kept).split())


def check_runtimes(subjects: Sequence["Model"], wanted: Wanted) -> None:
    """Refuse a bundle that no runtime of `wanted` can run."""
    for subject in subjects:
        if isinstance(subject, BundleSubject):
            runtimes_for(subject, wanted)


def host_steps_of(subject: "Model", wanted: Wanted) -> int:
    """How often `profile_here` calls its progress."""
    if isinstance(subject, BundleSubject):
        return bundle_steps(wanted)
    from hwkd.measure.eager_profile import host_steps

    return host_steps(wanted)


def profile_here(
    subject: "Model",
    width: int,
    height: int,
    wanted: Wanted,
    command: str,
    progress: Callable[[str], None],
) -> Record:
    """`subject` measured on this machine, as hwkd.measure.bundles or hwkd.measure.eager_profile."""
    if isinstance(subject, BundleSubject):
        return profile_bundle(subject, width, height, wanted, command, progress)
    from hwkd.measure.eager_profile import profile_host

    return profile_host(subject, width, height, wanted, command, progress)
