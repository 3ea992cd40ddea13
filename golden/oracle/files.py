"""Golden files and their manifest: read only after their hash agreed, written whole or not at all."""

import hashlib
import io
import json
import os
import signal
import tempfile
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from .errors import InputError
from .regenerate import Golden, Tensors
from .specification import read_json
from .weights import SCHEME, SEED

FORMAT, VERSION = "plumbline-golden", 1
MANIFEST = "manifest.json"
WORTH_COMPRESSING = 16 << 10  # below, the index of a compressed dataset takes more room than compression saves
MOST_BYTES = 256 << 20  # a golden file that claims more is not one of ours


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def encode(golden: Golden) -> bytes:
    """The HDF5 file. The same tensors give the same bytes: no times, no creation order, the oldest object formats."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("earliest", "v110"), track_order=False) as file:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = np.int64(VERSION)
        file.attrs["specification"] = golden.specification.name
        file.attrs["specification_sha256"] = golden.specification.sha256
        file.attrs["scheme"] = np.int64(SCHEME)
        file.attrs["seed"] = np.int64(SEED)
        for path, tensor in golden.tensors.items():
            tensor = np.ascontiguousarray(tensor, dtype=np.int64 if tensor.dtype.kind == "i" else np.float64)
            squeezed = {"chunks": tensor.shape, "compression": "gzip", "compression_opts": 6, "shuffle": True}
            file.create_dataset(path, data=tensor, track_times=False,
                                **(squeezed if tensor.nbytes > WORTH_COMPRESSING else {}))
        for probe, padding in golden.paddings.items():
            file[f"probes/{probe}"].attrs["padding"] = padding
    return buffer.getvalue()


def decode(data: bytes, where: Path) -> tuple[Tensors, dict[str, object]]:
    """Tensors by path, and attributes by "path@name". Only for bytes whose hash agreed: a malformed HDF5 file can end
    the process."""
    tensors: Tensors = {}
    attributes: dict[str, object] = {}

    def visit(path: str, item) -> None:
        attributes.update({f"{path}@{name}": value for name, value in item.attrs.items()})
        if isinstance(item, h5py.Dataset):
            tensors[path] = item[()]

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            attributes.update({f"@{name}": value for name, value in file.attrs.items()})
            file.visititems(visit)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{where}: expected an HDF5 file of golden tensors, but it cannot be read ({reason}); "
                         "restore it from the repository") from None
    return tensors, attributes


def attributes(golden: Golden) -> dict[str, object]:
    """As decode() gives them."""
    root = {"@format": FORMAT, "@version": VERSION, "@specification": golden.specification.name,
            "@specification_sha256": golden.specification.sha256, "@scheme": SCHEME, "@seed": SEED}
    return root | {f"probes/{probe}@padding": padding for probe, padding in golden.paddings.items()}


def entry(golden: Golden, data: bytes) -> dict:
    """The file's line in the manifest."""
    return {"file": f"{golden.specification.name}.h5", "sha256": sha256(data), "bytes": len(data),
            "specification": golden.specification.name, "specification_sha256": golden.specification.sha256,
            "float32_error": golden.float32_error}


def manifest_bytes(entries: list[dict]) -> bytes:
    generator = {"name": "plumbline golden oracle", "version": VERSION, "numpy": np.__version__,
                 "h5py": h5py.__version__, "hdf5": h5py.version.hdf5_version}
    document = {"format": FORMAT + "-manifest", "version": VERSION, "generator": generator, "files": entries}
    return (json.dumps(document, indent=1) + "\n").encode()


def read_manifest(path: Path) -> list[dict]:
    document, _ = read_json(path, "the manifest of the golden files")
    entries = document.get("files")
    if document.get("format") != FORMAT + "-manifest" or document.get("version") != VERSION or not isinstance(
            entries, list):
        raise InputError(f"{path}: expected format \"{FORMAT}-manifest\", version {VERSION}, and a list of files; "
                         "restore it from the repository")
    kinds = {"file": str, "sha256": str, "bytes": int, "specification": str, "specification_sha256": str,
             "float32_error": dict}
    for index, item in enumerate(entries):
        for key, kind in kinds.items():
            if not isinstance(item, dict) or not isinstance(item.get(key), kind):
                raise InputError(f"{path}: files[{index}].{key}: expected a {kind.__name__}; restore the manifest "
                                 "from the repository")
        if item["file"] != f"{item['specification']}.h5" or Path(item["file"]).name != item["file"]:
            raise InputError(f"{path}: files[{index}].file: expected {item['specification']}.h5 as the specification "
                             f"is called, got {item['file']!r}; restore the manifest from the repository")
        if item["file"] in [other["file"] for other in entries[:index]]:
            raise InputError(f"{path}: files[{index}].file: {item['file']} is listed twice; restore the manifest "
                             "from the repository")
    return entries


def read_listed(path: Path, item: dict) -> bytes:
    """The file's bytes, if they are those that the manifest records."""
    try:
        size = path.stat().st_size
        if size != item["bytes"] or size > MOST_BYTES:
            raise InputError(f"{path}: expected {item['bytes']} bytes as in {MANIFEST}, got {size}; restore the file, "
                             "or record and accept it anew")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: listed in {MANIFEST}, but it cannot be read ({error.strerror}); restore the file, "
                         "or record and accept it anew") from None
    if sha256(data) != item["sha256"]:
        raise InputError(f"{path}: expected SHA-256 {item['sha256']} as in {MANIFEST}, got {sha256(data)}; restore the "
                         "file, or record and accept it anew")
    return data


def write_atomically(path: Path, data: bytes) -> None:
    """All of it under its name, or nothing: written aside, flushed to the disk, renamed."""
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
        sync_directory(path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); make room or the folder writable, then "
                         "repeat the command") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def sync_directory(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def termination_as_interrupt():
    """So that being asked to end cleans up as Ctrl-C does."""

    def interrupt(_signal, _frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
