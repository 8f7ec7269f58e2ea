"""A search as it stands, for its tables and plots. Pure."""

from dataclasses import dataclass

from hwkd.search.cost import Cost
from hwkd.search.found import AXES, REFERENCE, Found, front_of
from hwkd.search.settings import Settings


@dataclass(frozen=True)
class FitResult:
    """A search as it stands.

    target: its name. setting, trust: in what the networks run there, and how far to trust the costs. untrained: the
    paper's students that are shown with their costs alone, by N.
    """

    settings: Settings
    target: str
    found: tuple[Found, ...]
    setting: str
    trust: tuple[str, ...]
    untrained: tuple[tuple[int, Cost], ...]

    @property
    def searched(self) -> tuple[Found, ...]:
        """All but the references."""
        return tuple(one for one in self.found if one.kind != REFERENCE)

    @property
    def front(self) -> tuple[Found, ...]:
        """The students within the budget that no other beats in loss and every cost."""
        return front_of(self.searched, tuple(AXES))
