"""What `plumbline export` writes loads in `transformers` and computes the logits that we compute.

Our side of the comparison is the hidden unit test "[exported]".
"""

import os
import subprocess

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
import safetensors.torch
import torch
import transformers

LENGTHS = (1, 8, 33, 512)


def logits_of(directory):
    """Each length's tokens (1, T) and logits (1, T, V), float32, from the eager Hugging Face model."""
    model, loading = transformers.LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    complaints = {name: list(names) for name, names in loading.items() if names}
    assert complaints == {}, "transformers complains about the checkpoint"
    model.eval()
    tensors = {}
    for length in LENGTHS:
        tokens = torch.arange(1, length + 1).remainder(7919).mul(31).remainder(model.config.vocab_size).unsqueeze(0)
        with torch.inference_mode():
            tensors[f"logits/{length}"] = model(tokens).logits.contiguous()
        tensors[f"tokens/{length}"] = tokens.contiguous()
    return tensors


@pytest.mark.parametrize("specification", ["tiny", "minimind2-small", "minimind2", "diy-before"])  # those that rotate halves
def test_transformers_computes_what_we_compute(program, request, tmp_path, specification):
    exported = program("export", tmp_path / "model", "--spec", specification)
    assert exported.returncode == 0, exported.stderr
    recorded = tmp_path / "logits.safetensors"
    safetensors.torch.save_file(logits_of(tmp_path / "model"), recorded)
    unit_tests = request.config.getoption("--unit-tests") or program.path.parent / "cmake" / "tests" / "plumbline_tests"
    run = subprocess.run([unit_tests, "[exported]"], capture_output=True, text=True,
                         env={**os.environ, "PLUMBLINE_SPECIFICATION": specification, "PLUMBLINE_EXPORTED": str(recorded)})
    assert run.returncode == 0, run.stdout
