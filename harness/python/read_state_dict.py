"""Reads a state dict that torch.save wrote and writes its tensors as safetensors: read_state_dict.py INPUT OUTPUT.

A pickle can hold code. It is read with weights_only, so that none is run, and in a process of its own, so that
whoever asked for it does not end with it. Standard output is one line of JSON: {"notes": [...]} when OUTPUT was
written, else {"error": "..."} and status 1. Names are kept as they are.
"""

import json
import os
import re
import sys

WRAPPERS = ("model", "state_dict", "model_state_dict", "module")
MOST_WRAPPERS = 4
MOST_LISTED = 8


class Refused(Exception):
    """What the user reads."""


def listed(names):
    names = [str(name)[:80] for name in names]
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more


def reason_not_loaded(error):
    """One line for what torch.load raised."""
    text = " ".join(str(error).split())
    found = re.search(r"[Uu]nsupported (?:global: )?GLOBAL (\S+)|unrecognized function (.{1,80})", text)
    if found:
        name = found.group(1) or found.group(2)
        return f"contains objects that only executing its code could read; refused ({name})"
    if "TorchScript" in text:
        return "is a TorchScript archive, which holds code; save model.state_dict() instead"
    inner = re.search(r"WeightsUnpickler error: (.*?)(?: Check the documentation|$)", text)
    reason = inner.group(1) if inner else text[:200]
    return f"is not a state dict that torch.save wrote, or is truncated ({type(error).__name__}: {reason})"


def load(path):
    import torch

    with open(path, "rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    # Only the zip format, which torch.save writes since 1.6, can be mapped.
    options = {"mmap": True} if zipped else {}
    try:
        return torch.load(path, map_location="cpu", weights_only=True, **options)
    except Exception as error:  # whatever a damaged pickle makes it raise
        raise Refused(reason_not_loaded(error)) from None


def unwrapped(value, notes):
    """The dict of names to tensors within what was saved around it."""
    for _ in range(MOST_WRAPPERS):
        if not isinstance(value, dict):
            raise Refused(f"holds a {type(value).__name__}, expected a dict of names to tensors (model.state_dict())")
        inside = [key for key in WRAPPERS if isinstance(value.get(key), dict)]
        if not inside:
            return value
        if len(inside) > 1:
            raise Refused(f"holds several dicts that could be the model: {listed(inside)}; save one of them alone")
        others = [key for key in value if key != inside[0]]
        beside = f"; beside it, not read: {listed(others)}" if others else ""
        notes.append(f'the state dict was taken from under "{inside[0]}"{beside}')
        value = value[inside[0]]
    raise Refused(f"wraps its state dict more than {MOST_WRAPPERS} times")


def plain_tensor(name, tensor):
    """Dense, contiguous, on the CPU, of a type that safetensors and its readers have."""
    import torch

    allowed = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
               torch.int8, torch.uint8, torch.bool)
    if tensor.is_quantized:
        raise Refused(f'tensor "{name}" is quantised; only plain tensors are read')
    if tensor.layout != torch.strided or tensor.is_nested:
        raise Refused(f'tensor "{name}" is {tensor.layout}, sparse or nested; only dense tensors are read')
    if tensor.is_complex():
        raise Refused(f'tensor "{name}" is complex ({tensor.dtype}); only real tensors are read')
    if tensor.dtype not in allowed:
        raise Refused(f'tensor "{name}" is of {tensor.dtype}, which is not read')
    if tensor.device.type != "cpu":
        raise Refused(f'tensor "{name}" is on the {tensor.device.type} device: it has no values')
    return tensor.detach().contiguous()


def named_tensors(state, notes):
    import torch

    tensors, others = {}, []
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            others.append(f"{name} ({type(value).__name__})")
        elif not isinstance(name, str):
            raise Refused(f"holds a tensor under {name!r}, which is not a name")
        else:
            tensors[name] = plain_tensor(name, value)
    if others:
        notes.append(f"not tensors, left out: {listed(others)}")
    if not tensors:
        raise Refused("holds no tensors")
    return tensors


def unshared(tensors):
    """A storage each, which safetensors demands: tied tensors stand in the file under all their names."""
    seen, result = set(), {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        whole = storage.nbytes() == tensor.numel() * tensor.element_size()
        owner = storage.data_ptr()
        result[name] = tensor if whole and owner not in seen else tensor.clone()
        seen.add(owner)
    return result


def convert(source, target):
    from safetensors.torch import save_file

    notes = []
    tensors = named_tensors(unwrapped(load(source), notes), notes)
    save_file(unshared(tensors), target)
    return notes


def main():
    # Nothing but the report goes to standard output, whatever a library prints.
    report = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    try:
        result = {"notes": convert(*sys.argv[1:3])}
    except Refused as error:
        result = {"error": str(error)}
    except ImportError as error:
        result = {"error": f"cannot be read, because {sys.executable} lacks what it takes: {error}"}
    except Exception as error:  # memory or file size over the limits, most likely
        result = {"error": f"cannot be converted within the limits ({type(error).__name__}: {str(error)[:200]})"}
    print(json.dumps(result), file=report, flush=True)
    return 1 if "error" in result else 0


if __name__ == "__main__":
    sys.exit(main())
