"""Answers the requests of the candidate protocol, version 1, for one adapter."""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from plumbline import failure
from plumbline.adapter import Adapter, Cannot, Generation, Overrun, Pass
from plumbline.generation import pad_columns

PROTOCOL = 1
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
REQUESTS = ("hello", "weights", "load", "initialise", "forward", "open_cache", "extend", "show_cache", "fill_cache",
            "close_cache", "gradients", "train", "generate", "operation", "bye")
NOT_OFFERED = {"load": False, "initialise": False, "modes": [], "dropout": False, "padding": [], "first_position": False,
               "stages": [], "cache": None, "gradients": False, "train": False, "generate": None,
               "operations": []}


class Server:
    """adapter: a plumbline.Adapter, or a function(specification) that returns one; file: the adapter's, for error messages."""

    def __init__(self, adapter: Any, file: str | None = None) -> None:
        self.adapter = adapter
        self.file = file
        self.started_adapter: Any = None  # None before hello
        self.directory = ""
        self.caches: dict[int, Any] = {}
        self.tracebacks: set[str] = set()  # that were printed, each once
        self.files_written = 0
        self.caches_opened = 0

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to a request of the protocol. Never raises."""
        try:
            reply = self.dispatch(request)
            json.dumps(reply, allow_nan=False)  # raises here where the user's values are no JSON
        except Cannot as error:
            reply = {"error": {"kind": "cannot", "message": str(error)}}
        except Overrun as error:
            reply = {"error": {"kind": "overrun", "message": str(error)}}
        except (Exception, SystemExit) as error:
            text = traceback.format_exc()
            if text not in self.tracebacks:
                self.tracebacks.add(text)
                print(text, end="", file=sys.stderr)
            reply = {"error": failure.describe(error, self.file)}
        return {"id": request.get("id"), **reply}

    def dispatch(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request.get("request")
        if name not in REQUESTS:
            raise Cannot(f"protocol {PROTOCOL} has no request {name!r}")
        if self.started_adapter is None and name not in ("hello", "bye"):
            raise Cannot("hello comes first")
        return getattr(self, name)(request)

    # Tensors

    def read_tensors(self, request: dict[str, Any]) -> dict[str, torch.Tensor]:
        path = os.path.join(self.directory, request["tensors"])
        tensors = load_file(path)
        os.remove(path)
        return tensors

    def write_tensors(self, tensors: dict[str, torch.Tensor]) -> str:
        self.files_written += 1
        name = f"reply-{os.getpid()}-{self.files_written}.safetensors"
        # Copies: safetensors refuses tensors that share memory.
        own = {key: value.detach().to("cpu", copy=True).contiguous() for key, value in tensors.items()}
        save_file(own, os.path.join(self.directory, name))
        return name

    # Requests

    def hello(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["protocol"] != PROTOCOL:
            raise Cannot(f"this package speaks protocol {PROTOCOL}, not {request['protocol']}")
        if request["dtype"] not in TYPES:
            raise Cannot(f"it runs in {' or '.join(TYPES)}, not in {request['dtype']}")
        self.directory = request["directory"]
        if request.get("threads"):
            torch.set_num_threads(request["threads"])
        torch.manual_seed(request.get("seed", 0))
        specification = request["specification"]
        adapter = self.adapter if isinstance(self.adapter, Adapter) else self.adapter(specification)
        description = adapter.start(specification, TYPES[request["dtype"]], request["device"])
        self.started_adapter = adapter
        reply = {"protocol": PROTOCOL, "name": type(adapter).__name__, "framework": f"torch {torch.__version__.split('+')[0]}",
                 "dtype": request["dtype"], "device": request["device"], "configuration": {}, "parameters": [], "tied": [],
                 "mapping": None, **description}
        reply["can"] = {**NOT_OFFERED, **description.get("can", {})}
        return reply

    def weights(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"tensors": self.write_tensors(self.started_adapter.weights())}

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        self.started_adapter.load(self.read_tensors(request))
        return {}

    def initialise(self, request: dict[str, Any]) -> dict[str, Any]:
        self.started_adapter.initialise(request["seed"])
        return {}

    def forward(self, request: dict[str, Any]) -> dict[str, Any]:
        result = self.started_adapter.forward(self.read_tensors(request)["tokens"], parse_pass(request))
        return self.pass_reply(result)

    def open_cache(self, request: dict[str, Any]) -> dict[str, Any]:
        cache = self.started_adapter.open_cache(request["batch"], request["capacity"])
        self.caches_opened += 1
        self.caches[self.caches_opened] = cache
        return {"cache": self.caches_opened}

    def extend(self, request: dict[str, Any]) -> dict[str, Any]:
        tokens = self.read_tensors(request)["tokens"]
        return self.pass_reply(self.started_adapter.extend(self.requested_cache(request), tokens, parse_pass(request)))

    def show_cache(self, request: dict[str, Any]) -> dict[str, Any]:
        numbers, tensors = self.started_adapter.show_cache(self.requested_cache(request))
        return {**numbers, "tensors": self.write_tensors(tensors)}

    def fill_cache(self, request: dict[str, Any]) -> dict[str, Any]:
        self.started_adapter.fill_cache(self.requested_cache(request), request["value"])
        return {}

    def close_cache(self, request: dict[str, Any]) -> dict[str, Any]:
        self.requested_cache(request)
        del self.caches[request["cache"]]
        return {}

    def gradients(self, request: dict[str, Any]) -> dict[str, Any]:
        tensors = self.read_tensors(request)
        return {"tensors": self.write_tensors(self.started_adapter.gradients(tensors["tokens"], tensors["labels"], parse_pass(request)))}

    def train(self, request: dict[str, Any]) -> dict[str, Any]:
        tensors = self.read_tensors(request)
        losses = self.started_adapter.train(tensors["tokens"], tensors["labels"], learning_rate=request["learning_rate"],
                                    betas=tuple(request["betas"]), eps=request["eps"], weight_decay=request["weight_decay"])
        return {"tensors": self.write_tensors({"losses": losses})}

    def generate(self, request: dict[str, Any]) -> dict[str, Any]:
        shown = self.started_adapter.generate(self.read_tensors(request)["tokens"], parse_generation(request))
        return {"tensors": self.write_tensors(pad_columns(shown, request["most_tokens"]))}

    def operation(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["name"] not in ("repeat_kv", "rotate"):
            raise Cannot(f"protocol {PROTOCOL} has no operation {request['name']!r}")
        tensors = self.read_tensors(request)
        if request["name"] == "rotate":
            with torch.no_grad():
                return {"tensors": self.write_tensors({"y": self.started_adapter.rotate(tensors["x"], tensors["positions"])})}
        x = tensors["x"].requires_grad_()
        y = self.started_adapter.repeat_kv(x, request["factor"])
        result = {"y": y}
        if "upstream" in tensors:
            result["gradient"], = torch.autograd.grad(y, x, tensors["upstream"].to(y))
        return {"tensors": self.write_tensors(result)}

    def bye(self, request: dict[str, Any]) -> dict[str, Any]:
        return {}

    # Parts of messages

    def requested_cache(self, request: dict[str, Any]) -> Any:
        if request["cache"] not in self.caches:
            raise Cannot(f"no cache {request['cache']} is open")
        return self.caches[request["cache"]]

    def pass_reply(self, result: Any) -> dict[str, Any]:
        """`forward` and `extend` may put the model's own time under "seconds", and what a pass left changed under "left"."""
        fields = {name: result.pop(name) for name in ("seconds", "left") if result.get(name)}
        return {**fields, "tensors": self.write_tensors({name: value for name, value in result.items() if name not in ("seconds", "left")})}


def parse_pass(request: dict[str, Any]) -> Pass:
    return Pass(training=request.get("mode") == "training", dropout=request.get("dropout") or 0.0,
                padding=request.get("padding", "none"), lengths=list(request.get("lengths") or []),
                first_position=request.get("first_position", 0), observe=frozenset(request.get("observe") or []))


def parse_generation(request: dict[str, Any]) -> Generation:
    return Generation(most_tokens=request["most_tokens"], temperature=float(request["temperature"]), top_k=request["top_k"],
                      top_p=float(request["top_p"]), repetition_penalty=float(request["repetition_penalty"]), end=request["end"],
                      seed=request["seed"], padding=request["padding"], lengths=list(request["lengths"] or []))
