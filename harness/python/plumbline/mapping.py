"""The protocol's mapping of a reading: where each canonical parameter lies in the model's (harness/candidate/protocol.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plumbline import parameters

if TYPE_CHECKING:
    import torch

    from plumbline.reading import Piece, Reading


def mapping_of(reading: Reading, model: torch.nn.Module) -> dict[str, Any]:
    """Where each canonical parameter lies in the model's (harness/candidate/protocol.md)."""
    shapes = {name: tuple(tensor.shape) for name, tensor in parameters.parameters(model).items()}
    found: dict[str, Any] = {}
    used: dict[Piece, str] = {}
    for name, role in reading.all_roles().items():
        if any(piece in used for piece in role.pieces):
            reading.notes.append(f"{name} is {role.pieces[0].parameter}, which is {used[role.pieces[0]]} as well: it has none of its own")
            continue
        used.update(dict.fromkeys(role.pieces, name))
        if name == "model.embed_tokens.weight":
            found[name] = role.pieces[0].parameter
            continue
        entries = [entry for piece in role.pieces for entry in entries_of(piece, shapes[piece.parameter])]
        found[name] = entries[0] if len(entries) == 1 else entries
    return found


def entries_of(piece: Piece, shape: tuple[int, ...]) -> list[Any]:
    if not piece.inputs:
        if covers(piece.elements, shape):
            return [piece.parameter]
        return [{"from": piece.parameter, "slice": [0, *run]} for run in runs(piece.elements)]
    count = 1
    for size in shape:
        count *= size
    width = len(piece.inputs)
    along = piece.inputs[1] - piece.inputs[0] if width > 1 else 1
    sizes = [count // width, width] if along == 1 else [width, along]
    lines = [element // width for element in piece.elements] if along == 1 else list(piece.elements)
    steps: dict[str, Any] = {"from": piece.parameter, **({} if list(shape) == sizes else {"view": sizes})}
    turned = {} if along == 1 else {"transpose": True}
    if len(lines) == count // width:
        return [piece.parameter if len(steps) == 1 and not turned else {**steps, **turned}]
    return [{**steps, "slice": [0 if along == 1 else 1, *run], **turned} for run in runs(lines)]


def covers(elements: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(shape) == 1 and len(elements) == shape[0]


def runs(numbers: Any) -> list[tuple[int, int]]:
    """[(first, count)] of consecutive numbers."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][0] + found[-1][1]:
            found[-1][1] += 1
        else:
            found.append([number, 1])
    return [(first, count) for first, count in found]
