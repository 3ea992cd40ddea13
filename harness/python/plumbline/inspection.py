"""Shows what is understood of a model: python -m plumbline.inspection FILE.py:NAME SPECIFICATION [--folder DIR] [--json]."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from plumbline import failure, user_code

if TYPE_CHECKING:
    from plumbline.reading import Piece, Reading

LONGEST_CODE = 72  # characters
SETTINGS = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size", "vocab_size",
            "hidden_act", "rms_norm_eps", "rotary", "rope_theta", "tie_word_embeddings", "attention_bias", "mlp_bias")


def specification_of(name: str, folder: str) -> dict[str, Any]:
    """The specification of a name in the folder, or in a file. Errors: OSError, ValueError."""
    file = name if name.endswith(".json") or os.sep in name else os.path.join(folder, name + ".json")
    with open(file, encoding="utf-8") as text:
        result: dict[str, Any] = json.load(text)
    from plumbline.settings import intermediate_size

    return {**result, "intermediate_size": intermediate_size(result)}


def elements(piece: Piece, sizes: dict[str, int]) -> str:
    """The parameter, with the rows of what it makes where they are not all: "blocks.0.qkv.weight[0:48]". sizes: of all parameters."""
    from plumbline.mapping import runs

    if not piece.inputs or len(piece.elements) * len(piece.inputs) == sizes[piece.parameter]:
        return piece.parameter
    along = piece.inputs[1] - piece.inputs[0] if len(piece.inputs) > 1 else 1
    rows = [element // len(piece.inputs) for element in piece.elements] if along == 1 else list(piece.elements)
    found = runs(rows)
    return piece.parameter + "".join(f"[{first}:{first + count}]" for first, count in found[:3]) + ("…" if len(found) > 3 else "")


def parameter_lines(reading: Reading, sizes: dict[str, int]) -> list[str]:
    """Of layer 0, and of what is outside of layers."""
    from plumbline.reading import shown

    roles = {**reading.roles, **{"layers.0." + name: role for name, role in reading.layers[0].roles.items()}}
    wide = max(len(name) for name in roles) + 2
    found = {name: elements(role.pieces[0], sizes) + (f" and {len(role.pieces) - 1} more" if len(role.pieces) > 1 else "") for name, role in roles.items()}
    wider = max(len(text) for text in found.values()) + 2
    return [f"  {name:{wide}}{text:{wider}}{'' if (line := roles[name].line) is None else shown(line)}" for name, text in found.items()]


def stage_lines(reading: Reading) -> list[str]:
    from plumbline.reading import shown

    from plumbline.stages import STAGES

    lines = {**reading.lines, **reading.layers[0].lines}
    known = [(stage, line) for stage in STAGES if (line := lines.get(stage)) is not None]
    wide = max(len(shown(line)) for _, line in known) + 2
    return [f"  {stage:20}{shown(line):{wide}}{cut(line.text())}" for stage, line in known]


def cut(text: str) -> str:
    return text if len(text) <= LONGEST_CODE else text[:LONGEST_CODE - 1] + "…"


def table(description: dict[str, Any], reading: Reading) -> list[str]:
    """The screen, the answer first."""
    configuration, can = description["configuration"], description["can"]
    placed = len(reading.all_roles())
    sizes = {one["name"]: math.prod(one["shape"]) for one in description["parameters"]}
    known = "is understood" if not reading.surplus else "is understood in part"
    left = f", {len(reading.surplus)} not" if reading.surplus else ", none left over"
    first = f"{description['name']} {known}: {placed} parameters placed{left}"
    said = [f"  {key:22}{configuration[key]['value']!s:12}{configuration[key]['where']}" for key in SETTINGS if key in configuration]
    able = [f"  {name}" for name, holds in (("a padding mask", can["padding"]), ("positions", can["first_position"]),
                                           ("a KV cache", can["cache"]), ("its own generate", can["generate"])) if holds]
    lacks = [name for name, holds in (("a padding mask", can["padding"]), ("positions", can["first_position"]),
                                      ("a KV cache", can["cache"]), ("a loop that writes text", can["generate"])) if not holds]
    lines = [first]
    if reading.surplus:
        lines += ["Not placed, which nothing in the pass shows to be a part of this architecture:", *(f"  {name}" for name in reading.surplus[:10])]
    lines += ["", "Settings", *said, "", "Parameters (layer 0 stands for all)", *parameter_lines(reading, sizes), "", "Stages (of layer 0, and outside of layers)", *stage_lines(reading),
              "", "It takes", *(able or ["  tokens alone"])]
    if lacks:
        lines.append(f"  not found: {', '.join(lacks)}; what needs it is not applicable")
    return lines + ["", *(f"note: {note}" for note in description["notes"])]


def as_data(description: dict[str, Any], reading: Reading) -> dict[str, Any]:
    """The same for programs."""
    lines = {**reading.lines, **{f"layers.{number}.{stage}": line for number, layer in enumerate(reading.layers)
                                 for stage, line in layer.lines.items()}}
    return {"name": description["name"], "mapping": description["mapping"], "configuration": description["configuration"],
            "stages": {stage: {"file": line.file, "line": line.number, "code": line.text()} for stage, line in lines.items() if line},
            "surplus": reading.surplus, "can": description["can"], "notes": description["notes"]}


def main() -> int:
    parser = argparse.ArgumentParser(prog="plumbline inspect")
    parser.add_argument("model")
    parser.add_argument("specification")
    parser.add_argument("--folder", default="")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    file = user_code.split_target(arguments.model)[0]
    try:
        import torch
    except ImportError as error:
        print(f"plumbline: {sys.executable}: {error}: name the interpreter that runs the model with --python", file=sys.stderr)
        return 2
    try:
        torch.manual_seed(0)
        specification = specification_of(arguments.specification, arguments.folder)
        adapter: Any = user_code.adapter_in(arguments.model, specification)
        adapter.reads_always, adapter.refuses_idle = True, False
        description = adapter.start(specification, torch.float32, "cpu")
        if getattr(adapter, "reading", None) is None:
            raise ValueError("its data flow was not read" + "".join(f"; {note}" for note in description["notes"]))
        shown = as_data(description, adapter.reading)
        text = json.dumps(shown, indent=1) if arguments.json else "\n".join(table(description, adapter.reading))
    except (Exception, SystemExit) as error:
        told = failure.describe(error, file)
        print(f"plumbline: {told.get('where', arguments.model)}: {told['message'].removeprefix('Misused: ')}", file=sys.stderr)
        return 2
    return written(text)


def written(text: str) -> int:
    """Prints it and returns the status: 2 where it cannot be written. A pipe that nobody reads ends the process, as in other programs."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        print(text, flush=True)
    except OSError as error:
        print(f"plumbline: standard output cannot be written to: {error.strerror}: the output is lost; write it elsewhere", file=sys.stderr)
        os._exit(2)  # Python itself would try again, and end with another status
    return 0


if __name__ == "__main__":
    sys.exit(main())
