"""The families of codecs: one module each, without torch, that registers what the rest of hwkd knows of its families.

The order here is that of every list of families. A new family needs its own modules, and its name in this line.
"""

from hwkd.models.families import hyperprior, patch  # noqa: F401 (each registers its families)
