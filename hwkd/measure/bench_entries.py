"""Who takes part in a bench, each ready or with the reason why it cannot."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hwkd.errors import HwkdError, InputError
from hwkd.images import Pixels
from hwkd.measure.bench_bundles import bundle_coder, spread_of_y
from hwkd.measure.bench_classic import SETTING, classic_coder
from hwkd.measure.bench_coder import Absent, Coder
from hwkd.measure.classic_quality import LABELS
from hwkd.measure.machine_packages import installed_version
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.session import runtime_label

COMPRESSAI, NONE = "compressai", "none"
"""What to bench against, beside checkpoints: CompressAI with random weights, or nothing."""

_NEEDED = ("torch", "compressai")

Entry = Coder | Absent


@dataclass(frozen=True)
class Wanted:
    """What takes part, and how it is measured.

    against: COMPRESSAI, NONE, or a checkpoint as hwkd.models.teacher.load_teacher takes it. runtimes: for every
    bundle. threads: for every coder that can use them. seconds: for all timed runs together. classic_quality: of JPEG,
    WebP and AVIF; None: whatever comes nearest to the first bundle's PSNR. quality: of the bundles of all rates; None:
    their default.
    """

    against: str
    runtimes: tuple[str, ...]
    threads: int
    seconds: float
    classic_quality: int | None
    quality: int | None = None


def entries(
    image: Pixels, bundles: Mapping[str, Bundle], wanted: Wanted, show: Callable[[str], None]
) -> tuple[Entry, ...]:
    """CompressAI, each bundle in each runtime, then JPEG, WebP and AVIF; arguments as of hwkd.measure.bench.bench.

    Raises:
        InputError, HwkdError: no bundle runs in any of the runtimes; a checkpoint that there is not.
    """
    theirs: list[Entry] = []
    if wanted.against not in (COMPRESSAI, NONE):
        show(f"loading {wanted.against}")
        theirs.append(_checkpoint(wanted.against, image, wanted.threads))
    places = [(name, runtime) for name in bundles for runtime in wanted.runtimes]
    ours: list[Entry] = []
    errors: list[HwkdError] = []
    for name, runtime in places:
        show(f"{name} in {runtime}")
        try:
            quality = _quality_of(bundles[name], wanted)
            coder = bundle_coder(name, bundles[name], runtime, image, wanted.threads, quality)
            ours.append(coder)
        except HwkdError as error:
            errors.append(error)
            ours.append(Absent(name, runtime_label(runtime), str(error)))
    # The first that runs decides what the others have to come near to.
    found = [
        (place, entry)
        for place, entry in zip(places, ours, strict=True)
        if isinstance(entry, Coder)
    ]
    if not found:
        raise errors[0]
    (name, runtime), first = found[0]
    if wanted.against == COMPRESSAI:
        show("CompressAI")
        theirs.append(_random_weights(image, bundles[name], runtime, first, wanted))
    show("JPEG, WebP and AVIF")
    classic = [_classic(codec, image, first, wanted) for codec in LABELS]
    return (*theirs, *ours, *classic)


def _checkpoint(text: str, image: Pixels, threads: int) -> Coder:
    missing = _missing()
    if missing:
        raise InputError(
            f'--against {text} takes {missing}: pip install "hwkd[train]", or give --against none'
        )
    from hwkd.measure.eager.compressai import trained_coder

    return trained_coder(text, image, threads)


def _random_weights(
    image: Pixels, bundle: Bundle, runtime: str, first: Coder, wanted: Wanted
) -> Entry:
    missing = _missing()
    if missing:
        return Absent(
            "CompressAI", "torch eager", f'it takes {missing} (pip install "hwkd[train]")'
        )
    from hwkd.measure.eager.compressai import untrained_coder

    spread = spread_of_y(bundle, runtime, image, _quality_of(bundle, wanted)).tolist()
    return untrained_coder(image, spread, first.stream_bytes, wanted.threads)


def _quality_of(bundle: Bundle, wanted: Wanted) -> int | None:
    return None if bundle.manifest.qualities is None else wanted.quality


def _missing() -> str:
    """Of the packages that CompressAI's row needs those that are not installed, in words; "" for none."""
    return " and ".join(name for name in _NEEDED if installed_version(name) is None)


def _classic(codec: str, image: Pixels, first: Coder, wanted: Wanted) -> Entry:
    psnr_db = first.psnr_db.value
    if psnr_db is None and wanted.classic_quality is None:
        return Absent(LABELS[codec], SETTING, f"no PSNR to come near to: {first.psnr_db.reason}")
    try:
        return classic_coder(codec, image, psnr_db or 0.0, wanted.classic_quality, wanted.threads)
    except HwkdError as error:
        return Absent(LABELS[codec], SETTING, str(error))
