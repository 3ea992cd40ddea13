"""The engine against the eager PyTorch Llama of transformers: the same weights, threads and torch, in turn, in one run.

Each round measures all of ours (the benchmark executable) and all of theirs (here), the next round in the other order.
What counts is the median over the rounds, and for a ratio the median of the rounds' own ratios: on a machine with
neighbours a round's two halves see more alike conditions than two rounds do.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMPT, END = 64, 192
LONG, CHUNK = 512, 64


def fail(reason):
    print(f"plumbline bench: {reason}", file=sys.stderr)
    sys.exit(2)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="plumbline bench --against transformers", description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="for both (default: torch's own, %(default)s)")
    parser.add_argument("--rounds", type=int, default=None, help="default: 7, or 2 with --quick")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter measurements: a smoke test, no figure to quote")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "out", help="directory for bench.json")
    parser.add_argument("--binary", type=pathlib.Path, help="plumbline_benchmarks (default: $PLUMBLINE_BENCHMARKS)",
                        default=os.environ.get("PLUMBLINE_BENCHMARKS", ROOT / "build" / "release" / "plumbline_benchmarks"))
    arguments = parser.parse_args()
    if arguments.rounds is None:
        arguments.rounds = 2 if arguments.quick else 7
    if not 1 <= arguments.threads <= 1024 or not 1 <= arguments.rounds <= 1000:
        parser.error("--threads: 1 to 1024, --rounds: 1 to 1000")
    arguments.seconds = 0.1 if arguments.quick else 1.0
    return arguments


def run_binary(binary, *words):
    try:
        done = subprocess.run([str(binary), *words], check=True, capture_output=True, text=True)
    except OSError as error:
        fail(f"{binary}: {error.strerror}; build the target plumbline_benchmarks")
    except subprocess.CalledProcessError as error:
        fail(f"{binary} ended with status {error.returncode}: {error.stderr.strip().splitlines()[-1:]}")
    return done.stdout


class Workload:
    """`name` is the benchmark's, `call` the same work in PyTorch; operations and bytes are what it cannot do without."""

    def __init__(self, name, call, tokens, operations=0.0, attention=0.0, read=0.0):
        self.name, self.call, self.tokens = name, call, tokens
        self.operations, self.attention, self.read = operations, attention, read
        self.ours, self.theirs = [], []  # seconds, an entry a round


def step_through(model, ids):
    """The logits of each token from PROMPT to END, one forward call each; returns the time of these alone."""
    cache = transformers.DynamicCache(config=model.config)
    token = model(ids, past_key_values=cache, use_cache=True).logits[:, -1:].argmax(-1)
    began = time.perf_counter()
    for _ in range(PROMPT, END):
        token = model(token, past_key_values=cache, use_cache=True).logits.argmax(-1)
    return time.perf_counter() - began


def prefill(model, ids):
    cache = transformers.DynamicCache(config=model.config)
    for begin in range(0, ids.shape[1], CHUNK):
        model(ids[:, begin:begin + CHUNK], past_key_values=cache, use_cache=True)


def timed(call):
    def run():
        began = time.perf_counter()
        call()
        return time.perf_counter() - began
    return run


def workloads(model, quick):
    config = model.config
    matrices = sum(weight.numel() for weight in model.parameters() if weight.dim() == 2)  # the tied one once, as the head
    parameters = sum(weight.numel() for weight in model.parameters())
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(config.vocab_size, (4, LONG), generator=generator)

    def attention(batch, length):
        return 4.0 * batch * length * (length + 1) / 2 * config.hidden_size * config.num_hidden_layers

    found = []
    for length in (64, 512):
        for batch in (1,) if quick else (1, 4):
            part = ids[:batch, :length]
            found.append(Workload(f"pass/engine/tokens:{length}/batch:{batch}",
                                  timed(lambda part=part: model(part, use_cache=False).logits), batch * length,
                                  2.0 * matrices * batch * length, attention(batch, length)))
    found.append(Workload("decode_64_to_192/engine/batch:1", lambda: step_through(model, ids[:1, :PROMPT]), END - PROMPT,
                          read=4.0 * parameters * (END - PROMPT)))
    found.append(Workload("prefill_512_in_64s/engine", timed(lambda: prefill(model, ids[:1])), LONG, 2.0 * matrices * LONG,
                          attention(1, LONG)))
    many = torch.randint(config.vocab_size, (32, PROMPT), generator=generator)
    for number, settings in enumerate(({"do_sample": False}, {"do_sample": True, "top_k": 0},
                                       {"do_sample": True, "top_k": 0, "temperature": 0.8, "top_p": 0.9})):
        found.append(Workload(f"generate_32/engine/sampling:{number}", timed(lambda settings=settings: generate(model, many, **settings)),
                              32 * (END - PROMPT), 2.0 * matrices * 32 * END))
    return found


def generate(model, ids, **settings):
    made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=END - PROMPT, min_new_tokens=END - PROMPT,
                          pad_token_id=0, eos_token_id=None, **settings)
    assert made.shape == (32, END)


def measure_ours(arguments, found, machine):
    names = "|".join(re.escape(workload.name) for workload in found)
    report = json.loads(run_binary(arguments.binary, f"--threads={arguments.threads}", "--benchmark_format=json",
                                   f"--benchmark_min_time={arguments.seconds}", f"--benchmark_filter=^(machine/|({names})/)"))
    seen = {entry["name"]: entry for entry in report["benchmarks"]}
    for name, counter in (("matrix_products", "GFLOP/s"), ("memory_read", "GB/s")):
        machine[name].append(seen[f"machine/{name}/iterations:1"][counter] * 1e9)
    for workload in found:
        entry = seen[f"{workload.name}/real_time"]
        workload.ours.append(entry["real_time"] * {"ms": 1e-3, "us": 1e-6, "ns": 1e-9}[entry["time_unit"]])


@torch.inference_mode()
def measure_theirs(arguments, found):
    for workload in found:
        workload.call()
        spent = [workload.call()]
        while sum(spent) < arguments.seconds:
            spent.append(workload.call())
        workload.theirs.append(statistics.fmean(spent))


def summarise(workload, machine):
    """The medians, and the shares of what the machine can do in the same rounds."""
    ratios = [theirs / ours for ours, theirs in zip(workload.ours, workload.theirs)]
    ours, theirs = statistics.median(workload.ours), statistics.median(workload.theirs)
    rates, work = (machine["memory_read"], workload.read) if workload.read else (machine["matrix_products"], workload.operations)
    share = [statistics.median(work / seconds / rate for seconds, rate in zip(times, rates))
             for times in (workload.ours, workload.theirs)]
    summary = {"ours_seconds": ours, "theirs_seconds": theirs, "tokens": workload.tokens,
               "ratio": statistics.median(ratios), "ratio_least": min(ratios), "ratio_largest": max(ratios),
               "share_of": "memory_read" if workload.read else "matrix_products",
               "ours_share": share[0], "theirs_share": share[1],
               "ours_rounds": workload.ours, "theirs_rounds": workload.theirs}
    if workload.attention:
        summary["ours_share_with_attention"] = share[0] * (1 + workload.attention / workload.operations)
    return summary


def print_table(result):
    print(f"{'':34}{'ours':>12}{'theirs':>12}   {'ratio':<21}{'share of':>18}{'ours':>7}{'theirs':>8}{'ours with attention':>21}")
    for name, row in result["workloads"].items():
        ratio = f"{row['ratio']:.2f} ({row['ratio_least']:.2f} to {row['ratio_largest']:.2f})"
        with_attention = f"{row['ours_share_with_attention']:.0%}" if "ours_share_with_attention" in row else ""
        print(f"{name.replace('/engine', ''):34}{row['ours_seconds'] * 1e3:9.1f} ms{row['theirs_seconds'] * 1e3:9.1f} ms   {ratio:<21}"
              f"{row['share_of']:>18}{row['ours_share']:7.0%}{row['theirs_share']:8.0%}{with_attention:>21}")
    machine = result["machine"]
    print(f"matrix products {machine['matrix_products'] * 1e-9:.0f} GFLOP/s, memory read {machine['memory_read'] * 1e-9:.1f} GB/s, "
          f"{result['threads']} thread(s), {result['rounds']} round(s), load {result['load_before']:.1f} before and "
          f"{result['load_after']:.1f} after")
    print("Ratio: theirs / ours, above 1 is faster (median, least and largest of the rounds). Shares of the matrix-product rate "
          "count the\nproducts with weights alone, in the last column also attention's.")


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.disable_progress_bar()
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        directory = pathlib.Path(folder) / "checkpoint"
        run_binary(arguments.binary, "--export", str(directory))
        model = transformers.LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="sdpa").eval()
    found = workloads(model, arguments.quick)
    machine = {"matrix_products": [], "memory_read": []}
    for index in range(arguments.rounds):
        for ours in (True, False) if index % 2 == 0 else (False, True):
            if ours:
                measure_ours(arguments, found, machine)
            else:
                measure_theirs(arguments, found)
        print(f"round {index + 1} of {arguments.rounds}", file=sys.stderr)
    result = {"format": "plumbline-bench", "version": 1, "against": f"transformers {transformers.__version__}",
              "torch": torch.__version__, "model": "minimind2-small, float32, CPU", "threads": arguments.threads,
              "rounds": arguments.rounds, "quick": arguments.quick, "load_before": load_before, "load_after": os.getloadavg()[0],
              "machine": {name: statistics.median(rates) for name, rates in machine.items()}, "machine_rounds": machine,
              "workloads": {workload.name: summarise(workload, machine) for workload in found}}
    print_table(result)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "bench.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
