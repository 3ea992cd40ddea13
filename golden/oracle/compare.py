"""Recorded tensors against regenerated ones, element by element."""

import numpy as np

from .errors import Different, InputError
from .regenerate import Golden, Tensors

AGREEMENT = 1e-10  # of a tensor's largest value: float64 rounds 5 digits below, whatever the machine's libraries
FLOAT32_FACTOR = 16  # another library's float32 sums round elsewhere; an error beyond this is not rounding
FLOAT32_FLOOR = 4 * 2.0**-24  # of the largest value: below it, a handful of elements can be lucky


def largest(tensor: np.ndarray) -> float:
    finite = np.abs(tensor[np.isfinite(tensor)])
    return float(np.max(finite)) if finite.size else 0.0


def relative_difference(recorded: np.ndarray, fresh: np.ndarray) -> tuple[float, tuple[int, ...]]:
    """The largest difference over the recorded tensor's largest value, and where it is; infinite where either has a
    value that is not finite and the other has not the same."""
    with np.errstate(invalid="ignore"):
        difference = np.where(recorded == fresh, 0.0, np.abs(recorded.astype(np.float64) - fresh))
    difference = np.where(np.isfinite(difference), difference, np.inf)
    worst = np.unravel_index(int(np.argmax(difference)), difference.shape)
    if difference[worst] == 0:
        return 0.0, tuple(map(int, worst))
    scale = largest(recorded)
    return (float(difference[worst] / scale) if scale > 0 else np.inf), tuple(map(int, worst))


def demand_same_objects(where: str, recorded: Tensors, recorded_attributes: dict, fresh: Tensors, attributes: dict):
    """InputError unless both hold the same names, types and shapes, and the same attributes."""
    advice = "restore the file, or record and accept it anew"
    for path in fresh:
        if path not in recorded:
            raise InputError(f"{where}: {path}: expected a dataset, found none; {advice}")
        found, wanted = recorded[path], fresh[path]
        wanted_type = "int64" if wanted.dtype.kind == "i" else "float64"
        if not isinstance(found, np.ndarray) or found.dtype != wanted_type or found.shape != wanted.shape:
            raise InputError(f"{where}: {path}: expected {wanted_type} {list(wanted.shape)}, got "
                             f"{getattr(found, 'dtype', '?')} {list(getattr(found, 'shape', []))}; {advice}")
    for path in recorded:
        if path not in fresh:
            raise InputError(f"{where}: {path}: no probe asks for this dataset; {advice}")
    for name in {**attributes, **recorded_attributes}:
        if name not in attributes:
            raise InputError(f"{where}: attribute {name}: no golden file has this; {advice}")
        found = recorded_attributes.get(name)
        if found is None or np.ndim(found) != 0 or found != attributes[name]:
            raise InputError(f"{where}: attribute {name}: expected {attributes[name]!r}, got {found!r}; {advice}")


def demand_same_values(where: str, recorded: Tensors, fresh: Tensors) -> float:
    """The largest relative difference; Different naming every tensor beyond AGREEMENT, or any whole number that is
    not the same."""
    sentences, worst_of_all = [], 0.0
    for path, wanted in fresh.items():
        difference, at = relative_difference(recorded[path], wanted)
        worst_of_all = max(worst_of_all, difference)
        whole = wanted.dtype.kind == "i"
        if not difference <= (0 if whole else AGREEMENT):
            allowed = "equal" if whole else f"within {AGREEMENT:g}"
            sentences.append(f"{where}: {path}{list(at)}: got {recorded[path][at]!s}, expected {wanted[at]!s} (off by "
                             f"{difference:.1e} of the tensor's largest value, expected {allowed})")
    if sentences:
        raise Different("\n".join(shortened(sentences)))
    return worst_of_all


def float32_differences(recorded: dict, fresh: dict[str, dict[str, float]]) -> list[str]:
    """Where the manifest's float32 errors are not those of an honest float32 run, a sentence each. Tolerances are made
    of these numbers, so they are evidence too."""
    sentences = [f"{key}: no such tensor" for key in recorded if key not in fresh]
    for key, wanted in fresh.items():
        found = recorded.get(key)
        if not isinstance(found, dict) or not all(
                isinstance(found.get(field), (int, float)) and found[field] >= 0 for field in wanted):
            sentences.append(f"{key}: expected error and largest as numbers, got {found!r}")
            continue
        floor = FLOAT32_FLOOR * wanted["largest"]
        if not abs(found["largest"] - wanted["largest"]) <= AGREEMENT * wanted["largest"]:
            sentences.append(f"{key}: largest: got {found['largest']}, expected {wanted['largest']}")
        elif not (found["error"] <= FLOAT32_FACTOR * wanted["error"] + floor
                  and wanted["error"] <= FLOAT32_FACTOR * found["error"] + floor):
            sentences.append(f"{key}: error: got {found['error']:.3e}, a float32 run here has {wanted['error']:.3e}, "
                             f"expected within a factor of {FLOAT32_FACTOR}")
    return sentences


def shortened(sentences: list[str], most: int = 8) -> list[str]:
    left = len(sentences) - most
    return sentences if left <= 0 else [*sentences[:most], f"... and {left} more tensors"]


def changes(recorded: Tensors, recorded_attributes: dict, golden: Golden, attributes: dict) -> list[tuple[str, str]]:
    """Rows of (what, how it changed) for a person to review, in the file's order; nothing where nothing did."""
    rows = []
    for path, fresh in golden.tensors.items():
        if path not in recorded:
            rows.append((path, f"new {list(fresh.shape)}"))
        elif recorded[path].shape != fresh.shape:
            rows.append((path, f"shape {list(recorded[path].shape)} -> {list(fresh.shape)}"))
        else:
            difference, at = relative_difference(recorded[path], fresh)
            if difference > 0:
                rows.append((path, f"{difference:.2e} at {list(at)}"))
    rows += [(path, "removed") for path in recorded if path not in golden.tensors]
    for name in {**attributes, **recorded_attributes}:
        before, after = recorded_attributes.get(name), attributes.get(name)
        if before is None or np.ndim(before) != 0 or before != after:
            rows.append((f"attribute {name}", f"{before} -> {after}"))
    return rows
