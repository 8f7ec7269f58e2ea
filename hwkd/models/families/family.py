"""The interface of a family of codecs to the rest of hwkd, without torch, and the list of the families."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from hwkd.errors import InputError, unknown

if TYPE_CHECKING:
    from torch import Tensor

# What is read of a codec of any family.


class Spec:
    """A codec's description in few numbers; each kind of codec has a frozen dataclass of its own.

    Attributes:
        widths: channels of the layers inside g_a; g_s mirrors them.
        M: channels of y.
        H: channels inside h_a and h_s.
        Z: channels of z.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    family: str
    widths: tuple[int, ...]
    M: int
    H: int
    Z: int

    @property
    def serves_all_rates(self) -> bool:
        """Whether one model codes at every quality of hwkd/qualities.py."""
        return False


InputKind = Literal["pixels", "symbols", "integers", "fractions", "activation"]
"""The kind of a layer's input (hwkd/quantize/qat.py)."""


@dataclass(frozen=True)
class LayerInput:
    """The input of one layer: its kind (hwkd/quantize/qat.py), and whether it can be negative."""

    kind: InputKind
    signed: bool


@dataclass(frozen=True)
class Layer:
    """One layer of a codec.

    Attributes:
        at: number of positions of its input in one BLOCK of the image.
        operator: conv, transposed or gdn.
        bias: whether a value is added to each output channel.
    """

    name: str
    c_in: int
    c_out: int
    at: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    operator: str = "conv"
    bias: bool = True


BLOCK = 64
"""The stride of z in pixels: every layer works on an area that is padded to multiples of it."""

ChannelRange = tuple[str, int, int, int]
"""A number of channels that a search may vary: name, lowest, highest and step."""


@dataclass(frozen=True)
class Family(ABC):
    """Everything that depends on the family and needs no torch.

    Attributes:
        name: the family's name for --family.
        spec_type: the class of its specs.
        codec: "module:class" of its networks, a `HyperpriorCodec` that is made from a spec (hwkd/models/base.py).
        graphs: "module:object" of its `Graphs` (hwkd/export/graphs.py); None for a family that only teaches.
        checkpoint: name in messages of a file of its weights; families may share it.
        default_width: channels where no width is given.
        optimizer: the one of hwkd/distill/optimizers.py that trains it best.
        latent_of_all_rates: channels of y of a student of all rates from a teacher of one; None: it has one rate.
        takes_post: whether it has the deblocking pairs of --post.
        has_gdn: whether GDN stands between its convolutions.
        has_transposed: whether g_s has transposed convolutions. ONNX Runtime does not have them in int8.
        h_s_gives_index: whether h_s gives the place in the table of scales, and not the scale.
        clips_g_a: whether calibration may clip the few activations of g_a that reach far.
        float_notes: the parts beside GDN that compute in float32, one sentence each.
    """

    name: str
    spec_type: type[Spec]
    codec: str
    graphs: str | None
    checkpoint: str
    default_width: int = 64
    optimizer: str = "adam"
    latent_of_all_rates: int | None = None
    takes_post: bool = False
    has_gdn: bool = False
    has_transposed: bool = False
    h_s_gives_index: bool = False
    clips_g_a: bool = True
    float_notes: tuple[str, ...] = ()

    @property
    def is_student(self) -> bool:
        """Whether it can be distilled, quantized and exported."""
        return self.graphs is not None

    @property
    def has_all_rates(self) -> bool:
        """Whether one student of it can serve every quality."""
        return self.latent_of_all_rates is not None

    @abstractmethod
    def student(
        self,
        widths: tuple[int, ...],
        M: int,
        hyper: int | None,
        hyper_latent: int | None,
        post: tuple[int, ...] | None,
        *,
        all_rates: bool,
    ) -> Spec:
        """The student of these numbers, as `hwkd.models.spec.student_spec` has checked them."""

    def with_rates(self, spec: Spec, *, all_rates: bool) -> Spec:
        """`spec` for all rates, or for one; only called where it is the other and the family has both."""
        raise NotImplementedError(f"family {self.name} has one rate")

    @abstractmethod
    def recognise(self, state: "Mapping[str, Tensor]") -> Spec | None:
        """The spec of the model that `state` belongs to, by names and shapes; None where that is no model of this family.

        Raises:
            KeyError, IndexError: none either: a tensor is missing, or has another number of axes.
        """

    @abstractmethod
    def layers(self, spec: Spec) -> Iterator[Layer]:
        """The layers of g_a, h_a, h_s and g_s of a quantized codec, in the order they run."""

    @abstractmethod
    def given_inputs(self, spec: Spec) -> dict[str, LayerInput]:
        """The inputs of layers of g_a and g_s that lie on a grid as they are, by the layer's name."""

    def with_rest(self, spec: Spec) -> tuple[str, ...]:
        """The layers that a quantized codec holds in two, as one grid is too coarse for their weights (hwkd/quantize/qat.py)."""
        return ()

    def why_not_quantized(self, spec: Spec) -> str | None:
        """The reason in a sentence, if no codec of this `spec` is quantized; None if they are."""
        return None

    # What a search may choose.

    @abstractmethod
    def width_names(self) -> tuple[str, ...]:
        """The names of the widths in a search, in their order in the spec."""

    @abstractmethod
    def ranges(self, teacher: Any) -> tuple[ChannelRange, ...]:
        """The students that every layer of `teacher`, of this family's kind of spec, has filters for: the widths first."""

    @abstractmethod
    def from_values(self, values: Mapping[str, int]) -> Spec:
        """The student with these channels, by the names of `ranges`."""

    def uniform(self, width: int) -> dict[str, float]:
        """The channels of `ranges` but M of the student that `hwkd distill --width WIDTH` makes."""
        return {**dict.fromkeys(self.width_names(), width), "H": width, "Z": width}

    def options(self, spec: Spec) -> dict[str, Any]:
        """The options of `hwkd distill`, as a recipe has them, that make this student."""
        return {
            "family": spec.family,
            "width": list(spec.widths),
            "latent": spec.M,
            "hyper": spec.H,
            "hyper_latent": spec.Z,
        }


# The families that there are.

_FAMILIES: dict[str, Family] = {}

OneFamily = TypeVar("OneFamily", bound=Family)


def register(family: OneFamily) -> OneFamily:
    """Make `family` known under its name; `hwkd.models.families` imports every module that does so."""
    if family.name in _FAMILIES:
        raise ValueError(f"two families are called {family.name}")
    _FAMILIES[family.name] = family
    return family


def all_families() -> tuple[Family, ...]:
    """Every family, of students and of teachers only."""
    return tuple(_FAMILIES.values())


def student_families() -> tuple[Family, ...]:
    """The families that can be distilled."""
    return tuple(family for family in _FAMILIES.values() if family.is_student)


def student_names() -> tuple[str, ...]:
    """The families that a user may give to --family."""
    return tuple(family.name for family in student_families())


def family_of(spec: Spec) -> Family:
    """The family of a codec."""
    return _FAMILIES[spec.family]


def student_family(name: str) -> Family:
    """The family of students that a user named.

    Raises:
        InputError: there is none.
    """
    if name not in student_names():
        raise unknown("family", name, student_names())
    return _FAMILIES[name]


def in_words(names: Iterable[str], last: str) -> str:
    """`names` as a list in a sentence, `last` ("and", "or") before its last one."""
    *first, end = names
    return f"{', '.join(first)} {last} {end}" if first else end


def check_channels(
    spec: Spec, lists: tuple[str, ...] = ("widths",), besides: tuple[str, ...] = ()
) -> None:
    """Hold every number of channels of `spec` to 1 to 4096.

    Args:
        lists: the fields that hold several. besides: those that are no channels.
    Raises:
        InputError: one is not.
    """
    for name, value in asdict(spec).items():
        if name == "family" or name in besides:
            continue
        values = value if name in lists and isinstance(value, tuple) else (value,)
        if not all(type(v) is int and 1 <= v <= 4096 for v in values):
            raise InputError(f"{name} must be 1 to 4096 channels, got {value}")


def first_given(*given: int | None) -> int:
    """The first that was given; a 0 was, and is refused by the spec."""
    return next(n for n in given if n is not None)


def hyper_analysis(spec: Spec, kernel: int = 3) -> Iterator[Layer]:
    """h_a of every family here: a convolution of side `kernel`, then two of stride 2."""
    yield Layer("h_a.0", spec.M, spec.H, 16, kernel)
    yield Layer("h_a.2", spec.H, spec.H, 16, 5, stride=2)
    yield Layer("h_a.4", spec.H, spec.Z, 4, 5, stride=2)


def channel_range(name: str, low: int, most: int, step: int) -> ChannelRange:
    """The range from `low` up to `most`. It starts at `most` if that is below `low`, as with a narrow teacher."""
    low = min(low, most)
    return name, low, low + (most - low) // step * step, step


def latent_ranges(teacher: Spec) -> tuple[ChannelRange, ...]:
    """The ranges of the channels of y, of h_a and h_s, and of z."""
    return (
        channel_range("M", 64, teacher.M, 16),
        channel_range("H", 16, teacher.H, 8),
        channel_range("Z", 16, teacher.Z, 8),
    )
