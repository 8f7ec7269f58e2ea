"""The networks, teachers and what ships; called, `hwkd.models()` lists the models that encode (hwkd.face.models)."""

import sys

from hwkd import CallablePackage

sys.modules[__name__].__class__ = CallablePackage
