"""Reads a state dict and writes its tensors as safetensors: read_state_dict.py INPUT OUTPUT.

INPUT is a file that torch.save wrote, or a folder that torch.distributed.checkpoint wrote. A pickle can hold code. It
is read with weights_only, so that none is run, and in a process of its own, so that whoever asked for it does not end
with it. Standard output is one line of JSON: {"notes": [...]} when OUTPUT was written, else {"error": "..."} and
status 1. Names are kept as they are.
"""

import io
import json
import math
import os
import pickle
import re
import sys

WRAPPERS = ("model", "state_dict", "model_state_dict", "module")
MOST_WRAPPERS = 4
MOST_LISTED = 8
# Packages whose objects trainers save beside a model: what was configured, what was measured. An object that keeps
# what it is given and does nothing stands for each; no code of theirs is imported or run.
BESIDE_A_MODEL = ("accelerate", "argparse", "collections", "datetime", "enum", "lightning", "lightning_fabric", "numpy", "omegaconf", "pathlib",
                  "pytorch_lightning", "transformers", "types", "typing")
MOST_CLASSES_BESIDE = 64
METADATA = ".metadata"  # of torch.distributed.checkpoint: what lies where in the .distcp files


class Refused(Exception):
    """What the user reads."""


def listed(names):
    names = [str(name)[:80] for name in names]
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more


class Inert(dict):
    """Stands for an object of a class that is not to be run."""

    __hash__ = object.__hash__

    def __new__(cls, *arguments, **keywords):
        return super().__new__(cls)

    def __init__(self, *arguments, **keywords):
        super().__init__()

    def __eq__(self, other):
        return self is other

    def __setstate__(self, state):
        if isinstance(state, dict):
            self.__dict__.update(state)


def only_by_code(name):
    return f"contains objects that only executing its code could read; refused ({name}); save model.state_dict() alone"


def class_asked_for(error):
    """The name of the class that weights_only did not want, if it was that."""
    found = re.search(r"[Uu]nsupported (?:global: )?GLOBAL (\S+)|unrecognized function (.{1,80})", " ".join(str(error).split()))
    return found and (found.group(1) or found.group(2))


def reason_not_loaded(error):
    """One line for what torch.load raised."""
    text = " ".join(str(error).split())
    name = class_asked_for(error)
    if name:
        return only_by_code(name)
    if "TorchScript" in text:
        return "is a TorchScript archive, which holds code; save model.state_dict() instead"
    inner = re.search(r"WeightsUnpickler error: (.*?)(?: Check the documentation|$)", text)
    reason = inner.group(1) if inner else text[:200]
    return f"is not a state dict that torch.save wrote, or is truncated ({type(error).__name__}: {reason})"


def load(path, notes):
    import torch

    with open(path, "rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    # Only the zip format, which torch.save writes since 1.6, can be mapped. A pickle of this name torch takes for what it says.
    misnamed = str(path).endswith(".safetensors")
    options = {"mmap": True} if zipped and not misnamed else {}
    beside = {}
    while True:
        try:
            with torch.serialization.safe_globals([(kind, name) for name, kind in beside.items()]):
                with open(path, "rb") as file:
                    value = torch.load(file if misnamed else path, map_location="cpu", weights_only=True, **options)
            break
        except Exception as error:  # whatever a damaged pickle makes it raise
            name = class_asked_for(error)
            known = name and name.split(".")[0] in BESIDE_A_MODEL and name not in beside
            if not known or len(beside) == MOST_CLASSES_BESIDE:
                raise Refused(reason_not_loaded(error)) from None
            beside[name] = type("Inert", (Inert,), {})
    if beside:
        notes.append(f"objects of these kinds were not read: {listed(beside)}")
    return value


class Stored:
    """A tensor of a distributed checkpoint, not read yet."""

    def __init__(self, name, size, chunks):
        self.name, self.size, self.chunks = name, size, chunks  # chunks: (offsets, sizes, where it is stored)


class Metadata(pickle.Unpickler):
    """Of a distributed checkpoint, as objects without code."""

    def find_class(self, module, name):
        if module == "torch" and name == "Size":
            return tuple
        if module.split(".")[0] in ("torch", *BESIDE_A_MODEL):
            return type(name, (Inert,), {})
        raise Refused(f"{METADATA} {only_by_code(f'{module}.{name}')}")


def numbers(value):
    if isinstance(value, tuple) and all(type(number) is int and number >= 0 for number in value):
        return value
    raise Refused(f"{METADATA} has {str(value)[:80]} where a shape should be")


def stored_tensors(folder):
    """The nested dict that was saved, with a Stored in place of each tensor."""
    try:
        with open(os.path.join(folder, METADATA), "rb") as file:
            metadata = Metadata(file).load()
        entries = {(index.fqn, tuple(getattr(index, "offset", None) or ())): info for index, info in metadata.storage_data.items()}
        paths = metadata.planner_data if isinstance(metadata.planner_data, dict) else {}
        saved = {}
        for name, described in metadata.state_dict_metadata.items():
            *above, last = paths.get(name) or (name,)
            within = saved
            for key in above:
                within = within.setdefault(key, {})
            if type(described).__name__ == "TensorStorageMetadata":
                chunks = [(numbers(chunk.offsets), numbers(chunk.sizes), entries.get((name, chunk.offsets))) for chunk in described.chunks]
                within[last] = Stored(name, numbers(described.size), chunks)
            else:
                within[last] = described
    except Refused:
        raise
    except Exception as error:  # whatever a damaged pickle makes it raise
        raise Refused(f"{METADATA} is not what torch.distributed.checkpoint writes, or is truncated ({type(error).__name__}: {str(error)[:200]})") from None
    return saved


def read_chunk(folder, name, sizes, info):
    import torch

    file = getattr(info, "relative_path", None)
    if not isinstance(file, str) or os.path.basename(file) != file or file in ("", ".", ".."):
        raise Refused(f'{METADATA} names no file of the same folder for tensor "{name}"')
    if getattr(info, "transform_descriptors", None):
        raise Refused(f'{file}: tensor "{name}" is stored in a changed form (compressed, perhaps), which is not read')
    path = os.path.join(folder, file)
    if not os.path.isfile(path):
        raise Refused(f'{file}, where tensor "{name}" should be, is not there; is the copy complete?')
    begin, length = info.offset, info.length
    if type(begin) is not int or type(length) is not int or begin < 0 or length < 0 or begin + length > os.path.getsize(path):
        raise Refused(f'{file} ends before tensor "{name}" does; is the copy complete?')
    with open(path, "rb") as stream:
        stream.seek(begin)
        data = stream.read(length)
    try:
        tensor = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged pickle makes it raise
        raise Refused(f'{file}: tensor "{name}": {reason_not_loaded(error)}') from None
    if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != sizes:
        raise Refused(f'{file}: tensor "{name}" is not of the shape {list(sizes)} that {METADATA} has')
    return tensor


def assembled(folder, stored):
    """The whole tensor of its chunks. Nothing is allocated before as many elements have been read."""
    import torch

    chunks = [(offsets, read_chunk(folder, stored.name, sizes, info)) for offsets, sizes, info in stored.chunks]
    if len(chunks) == 1 and tuple(chunks[0][1].shape) == stored.size:
        return chunks[0][1]
    fits = all(len(offsets) == len(stored.size) and all(begin + length <= whole for begin, length, whole in zip(offsets, part.shape, stored.size))
               for offsets, part in chunks)
    if not chunks or not fits or sum(part.numel() for _, part in chunks) != math.prod(stored.size):
        raise Refused(f'{METADATA}: the parts of tensor "{stored.name}" do not make up its shape {list(stored.size)}')
    whole = torch.empty(stored.size, dtype=chunks[0][1].dtype)
    filled = torch.zeros(stored.size, dtype=torch.bool)
    for offsets, part in chunks:
        place = tuple(slice(begin, begin + length) for begin, length in zip(offsets, part.shape))
        if filled[place].any():
            raise Refused(f'{METADATA}: parts of tensor "{stored.name}" overlap')
        whole[place] = part
        filled[place] = True
    return whole


def holds_tensors(value):
    import torch

    return isinstance(value, dict) and any(isinstance(inner, (torch.Tensor, Stored)) for inner in value.values())


def dicts_of_a_model(value):
    """The keys under which the model may be: by their usual names, else the only dict with tensors in it, or with such a name."""
    named = [key for key in WRAPPERS if isinstance(value.get(key), dict)]
    if named or holds_tensors(value):
        return named
    inner = {key: dictionary for key, dictionary in value.items() if isinstance(dictionary, dict) and not isinstance(dictionary, Inert)}
    found = [key for key, dictionary in inner.items() if holds_tensors(dictionary)]
    return found or [key for key, dictionary in inner.items() if any(isinstance(dictionary.get(name), dict) for name in WRAPPERS)]


def unwrapped(value, notes):
    """The dict of names to tensors within what was saved around it."""
    for _ in range(MOST_WRAPPERS):
        if not isinstance(value, dict):
            raise Refused(f"holds a {type(value).__name__}, expected a dict of names to tensors (model.state_dict())")
        inside = dicts_of_a_model(value)
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

    if tensor.dtype == torch.complex128:
        tensor = tensor.to(torch.complex64)
    allowed = (torch.complex64, torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
               torch.int8, torch.uint8, torch.bool)
    if tensor.is_quantized:
        raise Refused(f'tensor "{name}" is quantised by torch.ao; expected float32, float16 or bfloat16 weights; pass the original model')
    if tensor.layout != torch.strided or tensor.is_nested:
        raise Refused(f'tensor "{name}" is {tensor.layout}, sparse or nested; only dense tensors are read')
    packed = {"torch.uint32": "several weights in each integer"} | {name: "fp8, 8-bit floating point" for name in (str(tensor.dtype),) if "float8" in name}
    if str(tensor.dtype) in packed:
        raise Refused(f'the model is quantised ({packed[str(tensor.dtype)]}): tensor "{name}" is of {tensor.dtype}; expected float32, float16 or '
                      "bfloat16 weights; pass the original model")
    if tensor.dtype not in allowed:
        raise Refused(f'tensor "{name}" is of {tensor.dtype}, which is not read')
    if tensor.device.type != "cpu":
        raise Refused(f'tensor "{name}" is on the {tensor.device.type} device: it has no values')
    return tensor.detach().resolve_conj().contiguous()


def named_tensors(state, notes, folder):
    import torch

    tensors, others = {}, []
    for name, value in state.items():
        if isinstance(value, Stored):
            value = assembled(folder, value)
        if not isinstance(value, torch.Tensor):
            others.append(f"{name} ({type(value).__name__})")
        elif not isinstance(name, str):
            raise Refused(f"holds a tensor under {name!r}, which is not a name")
        else:
            tensors[name] = plain_tensor(name, value)
    if others:
        notes.append(f"not tensors, left out: {listed(others)}")
    if not tensors and {"state", "param_groups"} <= set(state):
        raise Refused("holds the state of an optimiser, not a model; pass the file of the model beside it")
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
    folder = source if os.path.isdir(source) else None
    tensors = unshared(named_tensors(unwrapped(stored_tensors(folder) if folder else load(source, notes), notes), notes, folder))
    try:
        save_file(tensors, target)
    except Exception as error:  # a full disk, most likely
        place = os.path.dirname(target)
        raise Refused(f"its tensors could not be written to a temporary folder, {place} (TMPDIR names another place): {str(error)[:200]}") from None
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
