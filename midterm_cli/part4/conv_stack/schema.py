"""What `midterm conv stack` is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from midterm_cli import experiment
from midterm_cli.errors import UserError
from midterm_cli.experiment import Count, ExperimentConfig, Record, require_lengths
from midterm_cli.layers.arithmetic import Operations, ReceptiveField, Window, places
from midterm_cli.layers.schema import MAX_LAYERS, Layer
from midterm_cli.layers.sizes import AtLeast0, AtLeast1, Channels, PerAxis, per_axis
from midterm_cli.part4.schema import AtLeastOne, Shape, Steps, TorchCheck

MAX_WORDS = 40


def _require_window(numbers: list[int]) -> list[int]:
    kernel_size, stride, _, dilation = numbers
    if min(kernel_size, stride, dilation) < 1:
        raise ValueError(f"must be above 0 but for the padding, got {numbers}")
    return numbers


WindowNumbers = Annotated[
    list[AtLeast0], Field(min_length=4, max_length=4), AfterValidator(_require_window)
]
"""[kernel_size, stride, padding, dilation]"""


class Config(ExperimentConfig):
    """A network and its input."""

    GIVES_WAY: ClassVar[Mapping[str, Sequence[str]]] = {
        "size": ("sentence",),
        "sentence": ("size",),
    }

    channels: Channels = Field(description="channels of the input")
    size: PerAxis[AtLeast1] | None = Field(
        description="of the input: one number for a square, [height, width], or [length]; null "
        "with sentence"
    )
    sentence: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        description="words in place of size, one position each; null for an image"
    )
    position: PerAxis[AtLeast0] | None = Field(
        description="of the output that is traced to its inputs, in the last map; null for the "
        "middle"
    )
    layers: list[Layer] = Field(
        min_length=1, max_length=MAX_LAYERS, description="from the input on"
    )

    @property
    def words(self) -> list[str] | None:
        """Of the sentence; None for an image.

        Raises:
            UserError: both or neither of size and sentence are given, or it has too many words.
        """
        if (self.size is None) == (self.sentence is None):
            given = "neither is given" if self.size is None else "both are given"
            raise UserError(f"size and sentence: {given}\ngive one of them, and null for the other")
        if self.sentence is None:
            return None
        words = self.sentence.split()
        if not 1 <= len(words) <= MAX_WORDS:
            raise UserError(f"sentence has {len(words)} words: give 1 to {MAX_WORDS}")
        return words

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the input along each axis.

        Raises:
            UserError: as `words`.
        """
        if self.words is not None:
            return (len(self.words),)
        assert self.size is not None
        one_axis = not isinstance(self.size, int) and len(self.size) == 1
        return per_axis("size", self.size, 1 if one_axis else 2)


class LayerRow(Record):
    """One layer; along each axis a receptive field in inputs of the network."""

    layer: AtLeastOne = Field(description="its number")
    type: str
    description: str
    output_shape: Shape
    values: AtLeastOne
    parameters: Count
    macs: Count
    operations: Operations
    receptive_field: list[AtLeastOne]
    jump: list[AtLeastOne] | None = Field(
        description="from an output's field to the next one's; null where all outputs see the same"
    )
    start: list[int] = Field(description="of the first output's field")
    centre: list[float] = Field(description="of the first output's field")


class Level(Record):
    """The input or the output of a layer, and what of it reaches the traced output.

    Along two axes these are all combinations of a row and a column.
    """

    name: str
    sizes: list[AtLeastOne]
    centre: list[float] = Field(description="of the first output's field, in inputs")
    jump: list[Count] = Field(
        description="from an output's field to the next one's; 0 where all outputs see the same"
    )
    receptive_field: list[AtLeastOne]
    shared: list[Count] = Field(description="inputs that two neighbouring outputs both see")
    positions: list[list[Count]] = Field(description="along each axis: what reaches the output")
    windows: list[WindowNumbers] = Field(
        default=[],
        description="along each axis [kernel_size, stride, padding, dilation]; none at the input, "
        "and of a norm, which reads all of the map",
    )

    @model_validator(mode="after")
    def _one_for_each_axis(self) -> Self:
        lists: dict[str, Sized | None] = {
            "centre": self.centre,
            "jump": self.jump,
            "receptive_field": self.receptive_field,
            "shared": self.shared,
            "positions": self.positions,
            "windows": self.windows or None,
        }
        require_lengths(len(self.sizes), lists)
        return self

    def window(self, axis: int) -> Window | None:
        """Along an axis; None for the input and for a norm."""
        if not self.windows:
            return None
        kernel_size, stride, padding, dilation = self.windows[axis]
        return Window(kernel_size, stride, padding, dilation)

    def middle(self, axis: int, output: int) -> float:
        """Of what an output sees along an axis, in inputs of the network."""
        return self.centre[axis] + output * self.jump[axis]


class Trace(Record):
    """Which inputs reach one output, layer by layer."""

    position: list[Count] = Field(description="of the output, in the last map")
    levels: list[Level] = Field(
        min_length=1, max_length=MAX_LAYERS + 1, description="from the input on"
    )
    words: list[str] | None = Field(description="that reach the output; null for an image")

    @model_validator(mode="after")
    def _one_for_each_axis(self) -> Self:
        axes = len(self.position)
        for i, level in enumerate(self.levels):
            windows = level.windows or None
            require_lengths(
                axes, {f"levels[{i}].sizes": level.sizes, f"levels[{i}].windows": windows}
            )
        return self

    def places(self, axis: int) -> list[ReceptiveField]:
        """Where the outputs of each level stand along an axis."""
        return places(level.window(axis) for level in self.levels[1:])


class Results(experiment.Results):
    """Totals, and in `layers` each layer."""

    OBSERVATIONS = "layers"

    input_shape: list[AtLeastOne] = Field(
        min_length=2, max_length=3, description="[channels, height, width] or [channels, length]"
    )
    words: list[str] | None = Field(description="null for an image")
    output_shape: Shape
    values: AtLeastOne
    parameters: Count
    macs: Count
    flops: Count = Field(description="two a MAC")
    operations: Operations
    counted: str = Field(description="what is counted where")
    layers: list[LayerRow] = Field(min_length=1, max_length=MAX_LAYERS)
    trace: Trace
    stride_one: Trace | None = Field(
        description="the same with every stride 1; null where it is so already, or too large"
    )
    steps: Steps
    torch: TorchCheck

    @model_validator(mode="after")
    def _one_for_each_axis(self) -> Self:
        axes = len(self.input_shape) - 1
        require_lengths(axes, {"trace.position": self.trace.position})
        require_lengths(self.input_shape[-1], {"words": self.words})
        for i, row in enumerate(self.layers):
            lists = {
                "receptive_field": row.receptive_field,
                "jump": row.jump,
                "start": row.start,
                "centre": row.centre,
            }
            require_lengths(axes, {f"layers[{i}].{key}": values for key, values in lists.items()})
        if self.stride_one is not None:
            require_lengths(axes, {"stride_one.position": self.stride_one.position})
        return self
