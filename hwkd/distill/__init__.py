"""Training a student; called, `hwkd.distill(options)` is the whole of the command (hwkd.face.distill)."""

import sys

from hwkd import CallablePackage

sys.modules[__name__].__class__ = CallablePackage
