"""What `plumbline export` writes loads in `transformers` and computes the logits that we compute.

Run by CTest as `python test_export.py PROGRAM UNIT_TESTS`, with one release of transformers on PYTHONPATH. Our side of
the comparison is the hidden unit test "[exported]".
"""

import os
import pathlib
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import safetensors.torch
import torch
import transformers

LENGTHS = (1, 8, 33, 512)
WITH_HALVES = ("tiny", "minimind2-small", "minimind2", "diy-before")


def logits_of(directory):
    """Each length's tokens (1, T) and logits (1, T, V), float32, from the eager Hugging Face model."""
    model, loading = transformers.LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    complaints = {name: list(names) for name, names in loading.items() if names}
    if complaints:
        raise SystemExit(f"{directory}: transformers complains about the checkpoint: {complaints}")
    model.eval()
    tensors = {}
    for length in LENGTHS:
        tokens = torch.arange(1, length + 1).remainder(7919).mul(31).remainder(model.config.vocab_size).unsqueeze(0)
        with torch.inference_mode():
            tensors[f"logits/{length}"] = model(tokens).logits.contiguous()
        tensors[f"tokens/{length}"] = tokens.contiguous()
    return tensors


def main():
    program, unit_tests = sys.argv[1:]
    failed = 0
    for specification in WITH_HALVES:
        with tempfile.TemporaryDirectory() as folder:
            directory = pathlib.Path(folder) / "model"
            subprocess.run([program, "export", str(directory), "--spec", specification], check=True, stdout=subprocess.DEVNULL)
            recorded = pathlib.Path(folder) / "logits.safetensors"
            safetensors.torch.save_file(logits_of(directory), recorded)
            run = subprocess.run([unit_tests, "[exported]"], capture_output=True, text=True,
                                 env={**os.environ, "PLUMBLINE_SPECIFICATION": specification, "PLUMBLINE_EXPORTED": str(recorded)})
        print(run.stdout.strip() if run.returncode else "\n".join(l for l in run.stdout.splitlines() if l.startswith(specification)))
        failed += run.returncode != 0
    print(f"transformers {transformers.__version__}: {len(WITH_HALVES) - failed} of {len(WITH_HALVES)} specifications agree")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
