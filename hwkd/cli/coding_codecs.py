"""Codecs for several threads: one may be used by one thread at a time."""

import sys
import threading
from pathlib import Path

from hwkd.cli.coding import say
from hwkd.codec.codec import Codec
from hwkd.runtime.bundle import Bundle, read_bundle
from hwkd.runtime.cores import usable_cores
from hwkd.runtime.saturation import saturation_warning
from hwkd.runtime.session import runtime_label


class Codecs:
    """A codec for each thread that asks and each bundle.

    workers: threads that may ask. All cores, or `threads`, are shared out among them.

    Args:
        runtime, threads: as the user gave them, None for not.
        jobs: images to code.
    Raises:
        InputError: no such runtime.
    """

    def __init__(self, runtime: str | None, threads: int | None, jobs: int) -> None:
        if runtime is not None:
            runtime_label(runtime)
        total = threads or usable_cores()
        self.workers = min(total, jobs)
        self._runtime, self._threads = runtime, total // self.workers
        self._bundles: dict[Path, Bundle] = {}
        self._lock = threading.Lock()
        self._of_thread = threading.local()

    def bundle(self, path: Path) -> Bundle:
        """The bundle at `path`, read once; said once, where its weights do not suit this processor. Raises as `read_bundle`."""
        with self._lock:
            if path not in self._bundles:
                self._bundles[path] = read_bundle(path)
                warning = saturation_warning(self._bundles[path].manifest.most_weight_bits)
                if warning is not None:
                    say(f"note: {path}: {warning}", sys.stderr)
            return self._bundles[path]

    def codec(self, path: Path) -> Codec:
        """This thread's codec of the bundle at `path`. Raises as `Codec.load`."""
        held: dict[Path, Codec] = self._of_thread.__dict__.setdefault("codecs", {})
        if path not in held:
            held[path] = Codec.load(self.bundle(path), self._runtime, self._threads)
        return held[path]
