"""Reads a model from the data flow of one pass: which parameter is what, whatever it is called.

A reading says where the canonical parameters of a Llama-like model lie in the model's own (the protocol's `mapping`), what it was built with,
which line makes each stage, and what was not understood.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from plumbline import parameters
from plumbline.data_flow import Attention, DataFlow, Line, Product
from plumbline.failure import shortened
from plumbline.flow_recorder import record
from plumbline.stages import full_name

ACTIVATIONS = {("silu",): "silu", ("mul", "sigmoid"): "silu", ("gelu",): "gelu", ("relu",): "relu"}
LONGEST_CODE = 160  # characters
LAYER = "model.layers.{}."


class NotUnderstood(Exception):
    """What was missing in the data flow, and the line to look at."""

    def __init__(self, message: str, line: Line | None = None) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Piece:
    """A part of one of the model's parameters. elements: flat indices; of a matrix, of the first input, one for each row that it makes."""

    parameter: str
    elements: tuple[int, ...]
    inputs: tuple[int, ...] = ()  # of a matrix: flat indices along the input, for the first row


@dataclass(frozen=True)
class Role:
    """Where a canonical parameter lies: one piece, or several, one after the other."""

    pieces: tuple[Piece, ...]
    line: Line | None

    def __len__(self) -> int:
        return sum(len(piece.elements) for piece in self.pieces)


@dataclass
class Layer:
    roles: dict[str, Role] = field(default_factory=dict)  # "self_attn.q_proj.weight"
    lines: dict[str, Line | None] = field(default_factory=dict)  # of stages
    heads: int = 0
    kv_heads: int = 0
    head_size: int = 0
    activation: str | None = None


@dataclass
class Reading:
    layers: list[Layer]
    roles: dict[str, Role]                # outside of layers
    lines: dict[str, Line | None]
    surplus: list[str]                    # parameters that were not placed
    notes: list[str]
    tied: bool
    eps: float | None = None  # of the first norm

    def all_roles(self) -> dict[str, Role]:
        inside = {LAYER.format(number) + name: role for number, layer in enumerate(self.layers) for name, role in layer.roles.items()}
        return {**self.roles, **inside}


def read(model: torch.nn.Module, run: Callable[[], Any], batch: int) -> Reading:
    """The reading of a model from one pass. Errors: NotUnderstood."""
    flow, _ = record(model, run, batch)
    try:
        return Reader(model, flow).read()
    except NotUnderstood as error:
        if flow.problems:
            raise NotUnderstood(f"{error}; {flow.problems[0]} could not be followed", error.line) from None
        raise


class Reader:
    """Finds the roles of parameters in a data flow."""

    def __init__(self, model: torch.nn.Module, flow: DataFlow) -> None:
        self.flow = flow
        self.shapes = {name: tuple(tensor.shape) for name, tensor in parameters.parameters(model).items()}
        self.notes: list[str] = []

    def read(self) -> Reading:
        flow = self.flow
        if flow.embedding is None:
            raise NotUnderstood("no parameter is read by the tokens: no embedding was found")
        attentions = {number: attention for number, attention in enumerate(flow.attentions) if attention.value is not None}
        if not attentions:
            raise NotUnderstood("no attention was found: neither softmax between two products of activations nor a fused kernel")
        layers = [self.read_attention(number, attention) for number, attention in attentions.items()]
        self.read_feed_forwards(layers, [attention.products_before for attention in attentions.values()])
        embedding = self.place(flow.embedding[0])
        roles = {"model.embed_tokens.weight": Role((Piece(embedding[0], (embedding[1],)),), flow.embedding[2])}
        lines = {"embedding": flow.embedding[2]}
        head = flow.products[-1]
        lines["logits"] = head.line
        final = self.norm_before(head)
        if final is not None:
            roles["model.norm.weight"] = final
            lines["final_norm"] = final.line
        tied = self.place(head.rows)[0] == embedding[0]
        if not tied:
            roles["lm_head.weight"] = self.role_of([head], None)
        bias = Layer()
        self.add_bias(bias, "lm_head.bias", [head], None)
        roles.update(bias.roles)
        reading = Reading(layers, roles, lines, [], self.notes, tied, flow.eps[0] if flow.eps else None)
        placed = {piece.parameter for role in reading.all_roles().values() for piece in role.pieces}
        reading.surplus = [name for name in self.shapes if name not in placed]
        return reading

    # Attention

    def read_attention(self, number: int, attention: Attention) -> Layer:
        layer = Layer()
        for letter, labels in (("q", attention.query), ("k", attention.key), ("v", attention.value)):
            if labels is None:
                raise NotUnderstood(f"attention {number} takes {letter} that no parameter makes", attention.line)
            rows, norm = self.behind_norm(labels)
            made = self.products_with(rows, attention.products_before)
            if not made:
                raise NotUnderstood(f"the {letter} of attention {number} comes from no product with a parameter", attention.line)
            product = made[0]
            layer.roles[f"self_attn.{letter}_proj.weight"] = self.role_of(made, rows)
            self.add_bias(layer, f"self_attn.{letter}_proj.bias", made, rows)
            if norm is not None:
                layer.roles[f"self_attn.{letter}_norm.weight"] = norm
            layer.lines[letter] = product.line
            if letter == "q":
                before = self.norm_before(product)
                if before is not None:
                    layer.roles["input_layernorm.weight"] = before
                    layer.lines["attention_norm"] = before.line
        layer.lines["scores"] = attention.line
        layer.lines["q_rotated"], layer.lines["k_rotated"] = attention.query_line or attention.line, attention.key_line or attention.line
        layer.lines["probabilities"] = attention.softmax_line or attention.line
        layer.head_size = int(attention.query.shape[-1])  # type: ignore[union-attr]
        sizes = {letter: len(layer.roles[f"self_attn.{letter}_proj.weight"]) for letter in "qk"}
        layer.heads, layer.kv_heads = (sizes[letter] // layer.head_size for letter in "qk")
        output = next((product for product in self.flow.products if self.comes_from(product, "context", number)), None)
        if output is None:
            raise NotUnderstood(f"what attention {number} makes goes into no product with a parameter", attention.line)
        layer.roles["self_attn.o_proj.weight"] = self.role_of([output], None)
        self.add_bias(layer, "self_attn.o_proj.bias", [output], None)
        layer.lines["context"] = layer.lines["attention_out"] = output.line
        layer.lines["after_attention"] = self.line_of_sum(output)
        return layer

    def behind_norm(self, labels: torch.Tensor) -> tuple[torch.Tensor, Role | None]:
        """The labels of the rows that made queries or keys, and the norm of heads that lies between."""
        rows = rows_in(labels)
        for scaling in self.flow.scalings:
            if scaling.before is not None and torch.equal(rows_in(scaling.labels), rows) and len(scaling.labels.shape) > 2:
                return rows_in(scaling.before), self.role(scaling.labels, scaling.line)
        return rows, None

    def products_with(self, rows: torch.Tensor, before: int) -> list[Product]:
        """The last products before an attention that make these rows, in their order: one, or one for every head."""
        found: list[Product] = []
        left = rows
        for product in reversed(self.flow.products[:before]):
            if len(left) and bool(torch.isin(left, product.rows).any()):
                found.insert(0, product)
                left = left[~torch.isin(left, product.rows)]
        return [] if len(left) or not len(rows) else found

    # Feed-forwards

    def read_feed_forwards(self, layers: list[Layer], starts: list[int]) -> None:
        """starts: how many products there are before each attention."""
        found: dict[int, list[int]] = {}
        downs: dict[int, Product] = {}
        for number in range(len(self.flow.gatings)):
            down = next((i for i, product in enumerate(self.flow.products) if self.comes_from(product, "gated", number)), None)
            if down is None:
                continue
            found.setdefault(sum(start <= down for start in starts) - 1, []).append(number)
            downs[number] = self.flow.products[down]
        ends = [*starts[1:], len(self.flow.products)]
        ungated = [number for number in range(len(layers)) if number not in found]
        for number in ungated:
            self.read_ungated(layers[number], starts[number], ends[number])
        if ungated:
            which = "no layer has a" if len(ungated) == len(layers) else f"layer {', '.join(map(str, ungated))} has no"
            self.notes.append(f"{which} gated feed-forward: no product of an activation and another goes into a product with a parameter")
        for number, layer in enumerate(layers):
            if number not in found:
                continue
            if len(found[number]) > 1:
                self.notes.append(f"layer {number} has {len(found[number])} gated feed-forwards, as experts are; the first is taken")
            self.read_feed_forward(layer, found[number][0], downs[found[number][0]])

    def read_ungated(self, layer: Layer, first: int, last: int) -> None:
        """Of a layer in which what a product makes goes into another product: rows of the first that nothing takes are those of "up"."""
        for index in range(first, last):
            down = self.flow.products[index]
            rows = None if down.columns is None else rows_in(down.columns)
            made = [] if rows is None else self.products_with(rows, index)
            if rows is None or len(made) != 1 or not any(one is made[0] for one in self.flow.products[first:index]):
                continue
            layer.roles["mlp.gate_proj.weight"] = self.role_of(made, rows)
            layer.roles["mlp.down_proj.weight"] = self.role_of([down], None)
            layer.lines["gate"], layer.lines["feed_forward_out"] = made[0].line, down.line
            layer.lines["after_feed_forward"] = self.line_of_sum(down)
            others = rows_in(made[0].rows)
            others = others[~torch.isin(others, rows)]
            if len(others) == len(rows):
                layer.roles["mlp.up_proj.weight"] = self.role_of(made, others)
            before = self.norm_before(made[0])
            if before is not None:
                layer.roles["post_attention_layernorm.weight"] = before
                layer.lines["feed_forward_norm"] = before.line
            return

    def read_feed_forward(self, layer: Layer, number: int, down: Product) -> None:
        gating = self.flow.gatings[number]
        for name, labels in (("gate", gating.gate), ("up", gating.up)):
            rows = rows_in(labels)
            made = self.products_with(rows, len(self.flow.products))
            if not made:
                raise NotUnderstood(f"the {name} of a feed-forward comes from no product with a parameter", gating.line)
            product = made[0]
            layer.roles[f"mlp.{name}_proj.weight"] = self.role_of(made, rows)
            self.add_bias(layer, f"mlp.{name}_proj.bias", made, rows)
            layer.lines[name] = product.line
            before = self.norm_before(product)
            if name == "gate" and before is not None:
                layer.roles["post_attention_layernorm.weight"] = before
                layer.lines["feed_forward_norm"] = before.line
        layer.activation = ACTIVATIONS.get(tuple(name for name in gating.activation if name != "_to_copy"))
        layer.roles["mlp.down_proj.weight"] = self.role_of([down], None)
        self.add_bias(layer, "mlp.down_proj.bias", [down], None)
        layer.lines["gated"], layer.lines["feed_forward_out"] = gating.line, down.line
        layer.lines["after_feed_forward"] = self.line_of_sum(down)

    # Roles

    def place(self, labels: torch.Tensor) -> tuple[str, int]:
        place = self.flow.labels.place(int(labels.reshape(-1)[0]))
        if place is None:
            raise NotUnderstood("a value comes from no parameter")
        return place.name, place.index

    def role(self, labels: torch.Tensor, line: Line | None) -> Role:
        """Of a parameter of one axis."""
        return Role((self.piece(rows_in(labels)),), line)

    def piece(self, rows: torch.Tensor, inputs: tuple[int, ...] = ()) -> Piece:
        name, first = self.place(rows)
        return Piece(name, tuple((rows - rows[0] + first).tolist()), inputs)

    def role_of(self, products: list[Product], rows: torch.Tensor | None) -> Role:
        pieces = []
        for product in products:
            own = rows_in(product.rows)
            inputs = tuple((product.weight - product.weight[0]).tolist())
            pieces.append(self.piece(own if rows is None else own[torch.isin(own, rows)], inputs))
        return Role(tuple(pieces), products[0].line)

    def add_bias(self, layer: Layer, name: str, products: list[Product], rows: torch.Tensor | None) -> None:
        pieces = []
        for product in products:
            if product.bias is None or product.bias.numel() != len(product.rows):
                return
            bias = product.bias.reshape(-1)
            pieces.append(self.piece(rows_in(bias if rows is None else bias[torch.isin(product.rows, rows)])))
        layer.roles[name] = Role(tuple(pieces), products[0].line)

    def norm_before(self, product: Product) -> Role | None:
        """The norm whose output the product takes."""
        if product.columns is None:
            return None
        for scaling in reversed(self.flow.scalings):
            if torch.equal(rows_in(scaling.labels), rows_in(product.columns)):
                return self.role(scaling.labels, scaling.line)
        return None

    def line_of_sum(self, product: Product) -> Line | None:
        """Where what a product makes is added to the residual stream."""
        label = -int(product.rows[0])
        return next((one.line for one in self.flow.sums if label in (int(one.terms[0][0]), int(one.terms[1][0]))), None)

    def comes_from(self, product: Product, kind: str, number: int) -> bool:
        origin = None if product.columns is None else self.flow.origin(int(product.columns.reshape(-1)[0]))
        return origin is not None and origin[:2] == (kind, number)


def rows_in(labels: torch.Tensor) -> torch.Tensor:
    """The labels that occur, without signs and 0, in order."""
    found = labels.abs().unique()
    return found[found > 0]


def place_idle(read: Reading, idle: dict[str, tuple[int, ...]]) -> list[str]:
    """Gives parameters that take no part in a pass the places that no other has, where shapes leave no choice: norms that are forgotten,
    an "up" that is not multiplied. idle: {name: shape}. Returns the names of those that were placed."""
    width = len(read.layers[0].roles["self_attn.q_proj.weight"].pieces[0].inputs)
    free: dict[tuple[int, ...], list[tuple[dict[str, Role], str]]] = {}
    for layer in read.layers:
        gate = layer.roles.get("mlp.gate_proj.weight")
        shapes: dict[str, tuple[int, ...]] = {"input_layernorm.weight": (width,), "post_attention_layernorm.weight": (width,),
                                              "mlp.up_proj.weight": (0 if gate is None else len(gate), width)}
        for name, expected in shapes.items():
            if name not in layer.roles:
                free.setdefault(expected, []).append((layer.roles, name))
    if "model.norm.weight" not in read.roles:
        free.setdefault((width,), []).append((read.roles, "model.norm.weight"))
    placed: list[str] = []
    for shape, places in free.items():
        names = [name for name, own in idle.items() if own == shape]
        if len(names) != len(places):
            continue
        for (roles, role), name in zip(places, names):
            rows = range(0, shape[0] * width, width) if len(shape) == 2 else range(width)
            roles[role] = Role((Piece(name, tuple(rows), tuple(range(width)) if len(shape) == 2 else ()),), None)
            read.surplus.remove(name)
            placed.append(name)
    return placed


# Settings


def settings_of(reading: Reading, model: torch.nn.Module) -> dict[str, Any]:
    """What the data flow shows of the specification's settings: {key: {"value", "where"}}."""
    shapes = {name: tuple(tensor.shape) for name, tensor in parameters.parameters(model).items()}
    first = reading.layers[0]
    found: dict[str, tuple[Any, Line | None]] = {
        "num_hidden_layers": (len(reading.layers), None), "num_attention_heads": (first.heads, first.lines["scores"]),
        "num_key_value_heads": (first.kv_heads, first.lines["k"]), "head_dim": (first.head_size, first.lines["scores"]),
        "vocab_size": (shapes[reading.roles["model.embed_tokens.weight"].pieces[0].parameter][0], reading.lines["embedding"]),
        "hidden_size": (len(first.roles["self_attn.q_proj.weight"].pieces[0].inputs), first.lines["q"]),
        "attention_bias": ("self_attn.q_proj.bias" in first.roles, first.lines["q"]),
        "tie_word_embeddings": (reading.tied, reading.lines["logits"])}
    if "mlp.gate_proj.weight" in first.roles:
        found["intermediate_size"] = (len(first.roles["mlp.gate_proj.weight"]), first.lines["gate"])
        found["mlp_bias"] = ("mlp.gate_proj.bias" in first.roles, first.lines["gate"])
        if first.activation:
            found["hidden_act"] = (first.activation, first.lines["gated"])
    if reading.eps is not None:
        found["rms_norm_eps"] = (float(f"{reading.eps:.6g}"), first.lines.get("attention_norm"))
    return {key: {"value": value, "where": "its data flow" if line is None else shown(line)} for key, (value, line) in found.items()}


def lines_of(read: Reading) -> dict[str, dict[str, str]]:
    """The protocol's `lines`: {"layers.0.scores": {"where": "attention.py:55", "code": ...}}."""
    lines = {**read.lines, **{full_name(stage, number): line for number, layer in enumerate(read.layers)
                              for stage, line in layer.lines.items()}}
    found = {stage: {"where": shown(line), "code": line.text()[:LONGEST_CODE]} for stage, line in lines.items() if line is not None}
    for number, layer in enumerate(read.layers):  # between their product and softmax scores are scaled and masked
        first, last = layer.lines.get("scores"), layer.lines.get("probabilities")
        if first is not None and last is not None and first.file == last.file and first.number < last.number:
            found[full_name("scores", number)]["where"] += f"-{last.number}"
    return found


def shown(line: Line) -> str:
    return f"{shortened(line.file)}:{line.number}"
