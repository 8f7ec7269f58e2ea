"""The installed packages that decide what hwkd can do here, against the ranges that hwkd states."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PACKAGES = (
    *("numpy", "pillow", "torch", "compressai", "brevitas", "torchao", "fvcore", "pytorch-msssim"),
    *("safetensors", "onnx", "onnxruntime", "openvino", "codecarbon", "pyJoules"),
)
"""The packages that decide what hwkd can do here."""


@dataclass(frozen=True)
class Package:
    """version: the installed one, or None. required: hwkd's range, "" where it states none. extra: its optional
    group, "" for none."""

    name: str
    version: str | None
    required: str
    extra: str

    @property
    def is_in_range(self) -> bool:
        """Whether it is installed in a version that hwkd's range accepts."""
        return self.version is not None and SpecifierSet(self.required).contains(
            self.version, prereleases=True
        )


def find_packages(
    names: Sequence[str], requirements: Sequence[str], version_of: Callable[[str], str | None]
) -> tuple[Package, ...]:
    """The packages `names`, with what `requirements` (as in a distribution's Requires-Dist) ask of them.

    A package of several optional groups is told with the first; "dev" repeats the others and is left out.
    """
    asked: dict[str, tuple[str, str]] = {}
    for text in requirements:
        requirement = Requirement(text)
        extra = "" if requirement.marker is None else _extra(str(requirement.marker))
        if extra != "dev":
            asked.setdefault(
                canonicalize_name(requirement.name), (_ranges(requirement.specifier), extra)
            )
    return tuple(
        Package(name, version_of(name), *asked.get(canonicalize_name(name), ("", "")))
        for name in names
    )


def own_metadata() -> tuple[str, list[str]]:
    """(the Python versions, the requirements) that the installed hwkd states; "" and none where it is not installed."""
    try:
        own = metadata.metadata("hwkd")
    except metadata.PackageNotFoundError:
        return "", []
    ranges = SpecifierSet(",".join(own.get_all("Requires-Python") or []))
    return _ranges(ranges), own.get_all("Requires-Dist") or []


def installed_version(name: str) -> str | None:
    """The version of the distribution `name`, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _ranges(specifier: SpecifierSet) -> str:
    """The range with ">=" before "<", as one writes it."""
    return ",".join(sorted(map(str, specifier), reverse=True))


def _extra(marker: str) -> str:
    """The group named in a marker such as: extra == "train"."""
    _, found, group = marker.replace("'", '"').partition('extra == "')
    return group.partition('"')[0] if found else ""
