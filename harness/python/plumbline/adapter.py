"""What answers Plumbline's requests: a method for each, to be overridden.

B is the number of sequences in a batch, T the number of tokens in each (padding included), V the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch  # not needed to say what an adapter is, and slow


class Cannot(Exception):
    """This candidate does not offer what was asked: not assessed, with the message as the reason."""


class Overrun(Exception):
    """The tokens do not fit the cache, which is as it was before."""


@dataclass(frozen=True)
class Pass:
    """How tokens are to be run."""

    training: bool = False
    dropout: float = 0.0                        # in training
    padding: str = "none"                       # "none", "right", "left"
    lengths: list[int] = field(default_factory=list)  # of the real tokens in each row; empty: all are real
    first_position: int = 0                     # of each row's first real token
    observe: frozenset[str] = frozenset()            # stages to show, without their layer: "scores"


@dataclass(frozen=True)
class Generation:
    """How prompts are to be continued. A setting that was not declared has its neutral value, the default."""

    most_tokens: int                            # new ones in each row
    temperature: float = 1.0                    # 0: greedy
    top_k: int = 0                              # 0: all
    top_p: float = 1.0
    repetition_penalty: float = 1.0             # of prompt and new tokens alike
    end: int | None = None                         # the token that ends a row; None: none does
    seed: int = 0
    padding: str = "none"                       # of the prompts: "none", "right", "left"
    lengths: list[int] = field(default_factory=list)  # of the real tokens in each row; empty: all are real


class Adapter:
    """Base class for full control; plumbline.Module and plumbline.HuggingFace are ready-made.

    Whatever is not overridden is not offered. Tensors come on the CPU, and may be returned on any device and shared with
    the model: they are copied before the model runs again.
    """

    def start(self, specification: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Any]:
        """Builds the model and describes it, once, before anything else.

        specification: dict, as in fixtures/specifications, sizes derived; dtype: torch.float32 or torch.bfloat16;
        device: "cpu", "cuda:0". Returns what `hello` replies (harness/candidate/protocol.md): `name`, `configuration`,
        `parameters`, `tied`, `mapping`, `can`. What is missing counts as not offered.
        """
        raise Cannot("its adapter does not override start(specification, dtype, device)")

    def weights(self) -> dict[str, torch.Tensor]:
        """Every parameter as it is now: {name: tensor}."""
        raise Cannot("it does not show its weights")

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Takes over {name: tensor}, every parameter. Errors: ValueError naming what is missing, unknown or misshapen."""
        raise Cannot("it does not load weights")

    def initialise(self, seed: int) -> None:
        """Makes the parameters anew, as before training."""
        raise Cannot("it does not initialise itself")

    def forward(self, tokens: torch.Tensor, options: Pass) -> dict[str, Any]:
        """One full pass. tokens: (B, T) int64; options: Pass. Returns {"logits": (B, T, V), "layers.0.q": ..., ...}."""
        raise Cannot("it has no forward pass")

    def open_cache(self, batch: int, capacity: int) -> Any:
        """Whatever stands for an empty cache, with room for `capacity` tokens in each row."""
        raise Cannot("it has no KV cache")

    def extend(self, cache: Any, tokens: torch.Tensor, options: Pass) -> dict[str, Any]:
        """As `forward`, appending the tokens to what open_cache returned. Errors: Overrun."""
        raise Cannot("it has no KV cache")

    def show_cache(self, cache: Any) -> tuple[dict[str, int], dict[str, torch.Tensor]]:
        """Returns ({"length", "capacity", "bytes"}, {"layers.0.keys": tensor, "layers.0.values": ..., ...})."""
        raise Cannot("it does not show its KV cache")

    def fill_cache(self, cache: Any, value: Any) -> None:
        """Fills every slot that was not written yet."""
        raise Cannot("the unwritten slots of its KV cache cannot be reached")

    def gradients(self, tokens: torch.Tensor, labels: torch.Tensor, options: Pass) -> dict[str, torch.Tensor]:
        """{"loss": (), parameter name: gradient, ...} of the mean cross-entropy; labels: (B, T), -100 counts for nothing."""
        raise Cannot("it shows no gradients")

    def train(self, tokens: torch.Tensor, labels: torch.Tensor, *, learning_rate: float, betas: tuple[float, float], eps: float,
              weight_decay: float) -> torch.Tensor:
        """An AdamW step on each of tokens, labels (steps, B, T). Returns the losses (steps)."""
        raise Cannot("it cannot be trained")

    def generate(self, tokens: torch.Tensor, settings: Generation) -> dict[str, torch.Tensor]:
        """Continues prompts (B, T) int64 by its own loop; settings: Generation.

        Returns {"tokens": (B, n) int64 and, if it shows what they were drawn from, "probabilities": (B, n, V)}: new tokens alone,
        -1 after the end token; a loop that ended every row may return fewer columns than were asked for.
        """
        raise Cannot("it does not generate text itself")

    def repeat_kv(self, x: torch.Tensor, factor: int) -> torch.Tensor:
        """(B, S, K, Dh) -> (B, S, K * factor, Dh), differentiable."""
        raise Cannot("it does not show how it repeats key/value heads")

    def rotate(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(B, T, heads, Dh) rotated at positions (B, T) int64."""
        raise Cannot("it does not show its rotation")
