"""What tests of checkpoints share: how they are judged, and files that `plumbline export --spec tiny` writes, changed."""

import json
import shutil

import safetensors.torch
import torch


class Checkpoints:
    def __init__(self, program, root):
        self.program, self.root = program, root

    def verify(self, path, *arguments):
        out = self.root / "out"
        shutil.rmtree(out, ignore_errors=True)
        run = self.program("verify", path, "--out", out, *arguments)
        result = json.loads((out / "result.json").read_text()) if (out / "result.json").exists() else None
        return run, result

    def failed(self, path):
        """The ids of the failed requirements, the exit status having been 1."""
        run, result = self.verify(path)
        assert run.returncode == 1, run.stdout + run.stderr
        failed = [r["id"] for r in result["requirements"] if r["verdict"] == "fail"]
        for identifier in failed:
            assert identifier in run.stdout
        return failed

    def refused(self, path, *words):
        """Exit status 2, one line that says these words, nothing written."""
        run, result = self.verify(path)
        assert run.returncode == 2, run.stdout + run.stderr
        assert len(run.stderr.strip().splitlines()) == 1, run.stderr
        assert result is None
        assert not (self.root / "out").exists()
        for word in words:
            assert word in run.stderr
        assert "internal error" not in run.stderr
        return run.stderr


META = (("model.embed_tokens", "tok_embeddings"), ("model.norm", "norm"), ("lm_head", "output"), ("model.layers.", "layers."),
        ("self_attn.q_proj", "attention.wq"), ("self_attn.k_proj", "attention.wk"), ("self_attn.v_proj", "attention.wv"),
        ("self_attn.o_proj", "attention.wo"), ("mlp.gate_proj", "feed_forward.w1"), ("mlp.down_proj", "feed_forward.w2"),
        ("mlp.up_proj", "feed_forward.w3"), ("input_layernorm", "attention_norm"), ("post_attention_layernorm", "ffn_norm"))
TORCHTUNE = (("model.embed_tokens", "tok_embeddings"), ("model.norm.weight", "norm.scale"), ("model.layers.", "layers."),
             ("self_attn.o_proj", "attn.output_proj"), ("self_attn", "attn"), ("mlp.gate_proj", "mlp.w1"), ("mlp.down_proj", "mlp.w2"),
             ("mlp.up_proj", "mlp.w3"), ("input_layernorm.weight", "sa_norm.scale"), ("post_attention_layernorm.weight", "mlp_norm.scale"))


def renamed(tensors, pairs):
    result = {}
    for name, tensor in tensors.items():
        for old, new in pairs:
            name = name.replace(old, new)
        result[name] = tensor
    return result


def inside(tensors, segment):
    """As a wrapper around every block's attention and around the model leaves the names."""
    return {segment + name.replace(".self_attn.", f".self_attn.{segment}"): tensor for name, tensor in tensors.items()}


def tables(length=32):
    """What code keeps beside its weights and does not learn."""
    angles = torch.outer(torch.arange(length).float(), 1e6 ** -(torch.arange(0, 8, 2).float() / 8))
    causal = torch.ones(length, length).tril()
    block = "model.layers.0.self_attn."
    return {"freqs_cis": torch.polar(torch.ones_like(angles), angles), "model.pos_cis": torch.polar(torch.ones_like(angles), angles),
            "model.freqs_cos": angles.cos(), "model.freqs_sin": angles.sin(), block + "rotary_emb.inv_freq": angles[1],
            block + "rotary_emb.cos_cached": angles.cos(), block + "bias": causal.bool().view(1, 1, length, length),
            "rotary.table": angles + 1, block + "_causal_mask": causal.bool(), block + "masked_bias": torch.tensor(-1e4), block + "mask": torch.full((length, length), float("-inf")).triu(1),
            block + "tril": causal, "model.position_ids": torch.arange(length).view(1, -1)}


def lora(name="model.layers.{}.self_attn.q_proj", wrapped="{}.lora_{}.weight"):
    return {wrapped.format(name.format(layer), side): torch.ones(shape) for layer in range(5) for side, shape in (("A", (4, 48)), ("B", (48, 4)))}


class Shapes(Checkpoints):
    """All judged as tiny, of which one that is right is exported."""

    def __init__(self, program, root):
        super().__init__(program, root)
        self.right = root / "right"
        assert program("export", self.right, "--spec", "tiny").returncode == 0
        self.weights = safetensors.torch.load_file(self.right / "model.safetensors")
        self.config = json.loads((self.right / "config.json").read_text())

    def verify(self, path, *arguments):
        return super().verify(path, "--spec", "tiny", *arguments)

    def place(self, name, config=None, weights=None):
        folder = self.root / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if config is not None:
            (folder / "config.json").write_text(json.dumps(config))
        if weights is not None:
            safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
        return folder

    def saved(self, value, name="state.pth"):
        torch.save(value, self.root / name)
        return self.root / name

    def conforms(self, path, *words):
        run, result = self.verify(path)
        assert run.returncode == 0, run.stdout + run.stderr
        printed = " ".join(run.stdout.split())
        for word in words:
            assert word in printed
        return result
