"""One of the processes of test_processes.py: prints what it learns from the first one, and what all say on average."""

from hwkd.distill.distributed import Processes, joined, started_processes
from hwkd.errors import InputError


def learnt(processes: Processes, error: Exception | None) -> str:
    """What `by_first` gives here where the first process answers 5, or fails."""

    def answer() -> int:
        if error is not None:
            raise error
        return 5

    try:
        return str(processes.by_first(answer))
    except Exception as caught:
        return f"{type(caught).__name__}: {caught}"


if __name__ == "__main__":
    with joined(started_processes()) as processes:
        learnts = [learnt(processes, e) for e in (None, InputError("wrong"), OSError("full"))]
        found = [
            *learnts,
            f"{processes.mean([processes.rank, 3.0])} {processes.any(processes.rank == 1)}",
        ]
        # In one piece: the other process prints at the same time.
        print("".join(f"{processes.rank} {line}\n" for line in found), end="", flush=True)
