"""Observes the stages of a pass of a model that was read by its data flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from plumbline.attention import ATTENTION_STAGES, AttentionWatch
from plumbline.flow_recorder import Recording
from plumbline.stage_watch import join_pieces
from plumbline.stages import full_name

if TYPE_CHECKING:
    from plumbline.data_flow import Product
    from plumbline.reading import Layer, Piece, Reading, Role

# Stage -> (the parameter whose product shows it, whether it is what goes in).
OF_PRODUCTS = {"attention_norm": ("self_attn.q_proj.weight", True), "q": ("self_attn.q_proj.weight", False),
               "k": ("self_attn.k_proj.weight", False), "v": ("self_attn.v_proj.weight", False),
               "context": ("self_attn.o_proj.weight", True), "attention_out": ("self_attn.o_proj.weight", False),
               "feed_forward_norm": ("mlp.gate_proj.weight", True), "gate": ("mlp.gate_proj.weight", False),
               "up": ("mlp.up_proj.weight", False), "gated": ("mlp.down_proj.weight", True),
               "feed_forward_out": ("mlp.down_proj.weight", False)}
SUMS = {"after_attention": "self_attn.o_proj.weight", "after_feed_forward": "mlp.down_proj.weight"}
IN_HEADS = ("q", "k", "v")


class InOrder:
    """Which layer runs, told by how many attentions were called before."""

    def __init__(self) -> None:
        self.watch: AttentionWatch | None = None

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: int) -> int:
        return len(self.watch.calls) if self.watch is not None else 0


class FlowWatch:
    """While entered, records a pass; stages() shows what it observed. The arguments are those of stage_watch.StageWatch."""

    def __init__(self, reading: Reading, model: torch.nn.Module, observe: frozenset[str], tokens: torch.Tensor, before: int,
                 head_size: int) -> None:
        self.reading, self.observe = reading, observe
        self.tokens, self.before, self.head_size = tokens, before, head_size
        self.recording = Recording(model, tokens.shape[0]) if observe - {"logits"} else None
        order = InOrder()
        self.attention = AttentionWatch(order)  # type: ignore[arg-type]
        order.watch = self.attention

    def __enter__(self) -> FlowWatch:
        if self.recording is not None:
            self.recording.__enter__()
            self.attention.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        if self.recording is not None:
            self.attention.__exit__(*error)  # type: ignore[no-untyped-call]
            self.recording.__exit__(*error)

    def stages(self) -> dict[str, torch.Tensor]:
        """{name: tensor} of the observed stages, "layers.0.q", in the protocol's shapes."""
        if self.recording is None:
            return {}
        flow = self.recording.flow
        found: dict[str, torch.Tensor | None] = {"embedding": flow.embedding[1] if flow.embedding else None}
        if flow.products:
            found["final_norm"] = self.joined([flow.products[-1].input])
        for number, layer in enumerate(self.reading.layers):
            found.update({full_name(stage, number): value for stage, value in self.stages_of(layer).items()})
        shown = {name: value for name, value in found.items() if value is not None and value.shape[:2] == self.tokens.shape}
        if len(self.attention.calls) == len(self.reading.layers):
            for number, call in self.attention.calls.items():
                before = [shown.get(full_name(stage, number)) for stage in ("q", "k")]
                shown.update({full_name(stage, number): value
                              for stage, value in call.stages(self.tokens, self.before, *before).items() if stage in ATTENTION_STAGES})
        return {name: value for name, value in shown.items() if name.rpartition(".")[2] in self.observe}

    def observed_head_size(self) -> int | None:
        return self.reading.layers[0].head_size if self.reading.layers else None

    def stages_of(self, layer: Layer) -> dict[str, torch.Tensor | None]:
        found: dict[str, torch.Tensor | None] = {}
        wanted = self.observe | ({"q", "k"} if self.observe & set(ATTENTION_STAGES) else set())
        for stage, (name, is_input) in OF_PRODUCTS.items():
            if name not in layer.roles or stage not in wanted:
                continue
            value = self.value_of(layer.roles[name], is_input)
            if stage in IN_HEADS:
                value = self.with_head_norm(layer, stage, value)
                value = None if value is None else value.unflatten(-1, (-1, layer.head_size))
            found[stage] = value
        for stage, name in SUMS.items():
            if name in layer.roles and stage in wanted:
                found[stage] = self.joined(self.sums_with(layer.roles[name]))
        return found

    def with_head_norm(self, layer: Layer, stage: str, value: torch.Tensor | None) -> torch.Tensor | None:
        role = layer.roles.get(f"self_attn.{stage}_norm.weight")
        if role is None:
            return value
        label = self.label_of(role)
        assert self.recording is not None
        made = [scaling.output for scaling in self.recording.flow.scalings if int(scaling.labels.reshape(-1)[0]) == label]
        return made[0].flatten(2) if len(made) == 1 and made[0].shape[:2] == self.tokens.shape else None

    def value_of(self, role: Role, is_input: bool) -> torch.Tensor | None:
        """What goes into the products of a role, or what they make, of all its pieces."""
        made = [self.products_of(piece) for piece in role.pieces]
        if is_input:
            return self.joined([product.input for product, _ in made[0]])
        if any(product.added_to for pieces in made for product, _ in pieces):
            return None
        values = [self.joined([output for _, output in pieces]) for pieces in made]
        known = [value for value in values if value is not None]
        return torch.cat(known, -1) if len(known) == len(values) and known else None

    def products_of(self, piece: Piece) -> list[tuple[Product, torch.Tensor]]:
        """The products that make the rows of a piece, with the columns of those."""
        assert self.recording is not None
        labels = self.labels_of(piece)
        found = []
        first, last = int(labels[0]), int(labels[-1])
        for product in self.recording.flow.products:
            if product.last < first or product.first > last:
                continue
            columns = torch.isin(product.rows, labels)
            if int(columns.sum()) == len(labels):
                found.append((product, product.output[..., columns.to(product.output.device)]))
        return found

    def sums_with(self, role: Role) -> list[torch.Tensor]:
        assert self.recording is not None
        label = -self.label_of(role)
        return [one.output for one in self.recording.flow.sums if label in (int(one.terms[0][0]), int(one.terms[1][0]))
                and not int(one.terms[0][0]) == int(one.terms[1][0])][:1]

    def label_of(self, role: Role) -> int:
        return int(self.labels_of(role.pieces[0])[0])

    def labels_of(self, piece: Piece) -> torch.Tensor:
        assert self.recording is not None
        labels = self.recording.flow.labels
        number = labels.names.index(piece.parameter)
        return torch.tensor(piece.elements) + labels.starts[number] + int(labels.tensors[number].storage_offset()) + 1

    def joined(self, pieces: list[torch.Tensor]) -> torch.Tensor | None:
        """(B, T, n) of what is (B, T, n), (B * T, n) or a piece of the tokens."""
        batch, length = self.tokens.shape
        shaped = []
        for piece in pieces:
            rows = piece.shape[:-1].numel()
            if rows % batch:
                return None
            shaped.append(piece.reshape(batch, rows // batch, piece.shape[-1]))
        return join_pieces(shaped, length) if shaped else None
