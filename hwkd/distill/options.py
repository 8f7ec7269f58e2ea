"""The options of `hwkd distill` for a program: the same fields, the same defaults."""

from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class DistillOptions:
    """What `hwkd.distill` is asked for; None leaves the choice to it. `hwkd distill --help` says more of each.

    target: a name of `hwkd targets` or a .toml file; needed unless `recipe` has one. recipe: a shipped one's name, or
    a .toml file, whose values hold where the field here has its default.
    bits: W or W/A, of weights (2 to 8) and activations (4 to 8), or "none". layer_bits: LAYER=W/A each.
    family: gdn, relu or patch. width, post: channels, "64" or "32,48,64". latent, hyper, hyper_latent: channels of y,
    inside h_a and h_s, of z. quality: 1 to 8, or lmbda, of bpp + lmbda 255^2 MSE, or all_rates: one of the three.
    teacher, second_teacher: as `hwkd.load_teacher` takes them. start: teacher, random, a shipped model or a run.
    kd: terms of the loss, weights after "=". kd_loss: mse or kld. rd_weight: of the rate-distortion term.
    data: a folder of images or of shards; None: embedded photographs. steps, or minutes of training; qat_steps: of the
    quantized phase. crop: side in pixels, a multiple of 64. batch: crops a step.
    output: the run's folder. evaluate: a folder of images for the report.

    Values are checked by `hwkd.distill`, as the command checks them.
    """

    target: str | None = None
    recipe: str | None = None
    bits: str = "8"
    layer_bits: tuple[str, ...] = ()
    family: str | None = None
    width: str | None = None
    latent: int | None = None
    hyper: int | None = None
    hyper_latent: int | None = None
    post: str | None = None
    quality: int | None = None
    lmbda: float | None = None
    all_rates: bool = False
    strict: bool = False
    teacher: str | None = None
    second_teacher: str | None = None
    kd: str = "latent,output"
    kd_loss: str = "mse"
    rd_weight: float | None = None
    start: str = "teacher"
    data: Path | None = None
    stream: bool = False
    data_workers: int | None = None
    steps: int | None = None
    minutes: float | None = None
    qat_steps: int | None = None
    ptq: bool = False
    crop: int = 256
    batch: int = 4
    accumulate: int = 1
    lr: float = 5e-4
    qat_lr: float = 5e-5
    schedule: str = "wsd"
    optimizer: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    seed: int = 0
    cache_crops: int = 0
    checkpoint_every: int = 200
    output: Path | None = None
    resume: bool = False
    force: bool = False
    evaluate: Path | None = None

    def words(self) -> list[str]:
        """The options of the command line that say the same: of every field that has not its default."""
        words: list[str] = []
        for field in fields(self):
            value, option = getattr(self, field.name), f"--{field.name.replace('_', '-')}"
            if value == field.default:
                continue
            if value is True:
                words.append(option)
            else:
                each = value if isinstance(value, tuple | list) else (value,)
                words += [f"{option}={one}" for one in each]
        return words
