"""hwkd: distil learned image codecs for small devices, and say exactly what that costs and saves.

    import hwkd

    codec = hwkd.Codec.load("patch-medium")
    data = codec.encode(image, quality=60)
    x_hat = codec.decode(data)
    hwkd.predict("patch-small", "raspberry-pi-4").decode_latency_ms

Every name is loaded when it is first used: `import hwkd` imports neither numpy nor torch nor a runtime.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hwkd.codec.codec import Codec
    from hwkd.distill.options import DistillOptions
    from hwkd.errors import HwkdError, InputError
    from hwkd.face import (
        Distilled,
        Predicted,
        ShippedModel,
        distill,
        macs,
        models,
        predict,
        profile,
    )
    from hwkd.models.teacher import load_teacher

__all__ = [
    "Codec",
    "DistillOptions",
    "Distilled",
    "HwkdError",
    "InputError",
    "Predicted",
    "ShippedModel",
    "__version__",
    "distill",
    "load_teacher",
    "macs",
    "models",
    "predict",
    "profile",
]

_PLACES = {
    "Codec": "hwkd.codec.codec",
    "DistillOptions": "hwkd.distill.options",
    "Distilled": "hwkd.face",
    "HwkdError": "hwkd.errors",
    "InputError": "hwkd.errors",
    "Predicted": "hwkd.face",
    "ShippedModel": "hwkd.face",
    "load_teacher": "hwkd.models.teacher",
    "macs": "hwkd.face",
    "predict": "hwkd.face",
    "profile": "hwkd.face",
}
"""The module of each name; held equal to the imports above by a test."""

_CALLED = ("distill", "models")
"""Functions of hwkd.face that share their name with a package: see CallablePackage."""


class CallablePackage(ModuleType):
    """A package that has the name of a function of hwkd.face: `hwkd.models()` lists what ships, `hwkd.models.patch` is a module.

    The import of a package binds its name in hwkd and replaces any function of that name. So the package takes the call.
    """

    def __call__(self, *args: Any, **named: Any) -> Any:
        """As the function of that name in hwkd.face."""
        function = getattr(import_module("hwkd.face"), self.__name__.rpartition(".")[2])
        return function(*args, **named)


# Not for type checkers: to them any misspelt name would be one that is loaded lazily.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name in _CALLED:
            return import_module(f"hwkd.{name}")
        if name not in _PLACES:
            raise AttributeError(f"module 'hwkd' has no attribute {name!r}")
        value = getattr(import_module(_PLACES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
