"""plumbline.verify: judges a model within the current process, for tests and notebooks.

The program `plumbline` runs as a child with relay.py as its candidate. The relay connects it to a socket of this process, where
a Server answers, as for an adapter's file.
"""

from __future__ import annotations

import codecs
import json
import os
import pathlib
import selectors
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO

import torch

from plumbline import result
from plumbline.adapter import Adapter
from plumbline.discovered import Discovered
from plumbline.hugging_face import HuggingFace
from plumbline.snapshot import Snapshot, restore_attributes, preserved_global_state
from plumbline.module import Module
from plumbline.server import Server
from plumbline.user_code import Misused, call, line_of

HERE = pathlib.Path(__file__).resolve().parent
TYPES = {torch.float32: "f32", torch.bfloat16: "bf16"}
TYPE_NAMES = {"float32": torch.float32, "f32": torch.float32, "bfloat16": torch.bfloat16, "bf16": torch.bfloat16}
LONGEST_SOCKET = 100   # bytes of a path; the system's limit is 104 or 108
SHOWN_LINES = 20        # of the program's output, where it has no error message
PREFIX = "plumbline: "  # of its messages
SECONDS_TO_END = 10    # for a terminated program
NO_SIGPIPE = getattr(socket, "MSG_NOSIGNAL", 0)


def verify(model: Any, spec: str | os.PathLike[str] = "minimind2-small", *, only: Any = None, dtype: Any = None,
           device: Any = None, threads: int | None = None, timeout: float | None = None, seed: int | None = None, longest: int | None = None,
           out: str | os.PathLike[str] | None = None, program: str | None = None, quiet: bool = True,
           **adapter_options: Any) -> result.Result:
    """Judges `model` against a specification and returns a plumbline.Result, true if the model conforms.

    model: a torch.nn.Module, which is judged as it is and afterwards has every value, gradient, flag and hook that it had; or
    a plumbline.Adapter; or a function(specification) that returns either.
    spec: a specification's name or file. only: chapters to look at, a number or several; the result is then incomplete.
    dtype: torch.float32 or torch.bfloat16, by default the model's own, and float32 for what is yet to be built.
    device: "cpu", "cuda:0"; by default the model's own. threads: by default as many as torch uses now.
    seed: what the weights and tokens of probes are drawn from, by default 1. longest: tokens of the longest pass, by default 4097
    for specifications of up to a million parameters, else 604.
    timeout: seconds that the model may take for one answer. One that hangs cannot be stopped in its own process: interrupt it.
    out: directory for result.json, result.xml and summary.md; by default they are not kept.
    program: the program `plumbline`; by default what the environment variable PLUMBLINE names, else that on the PATH, else
    the one of the source tree that this package lies in, which is built on its first call.
    quiet: False passes the program's progress on to sys.stdout. What the model prints is not held back.
    adapter_options: of what nothing is told, everything is found out as for FILE.py:NAME. Else keywords of plumbline.Module, such as mapping= or cache=, or of plumbline.HuggingFace for models of
    transformers' own classes.

    Errors: plumbline.CouldNotJudge where there is no verdict; ValueError and TypeError for arguments that cannot be.
    """
    with ExitStack() as afterwards:
        afterwards.enter_context(preserved_global_state())
        threads = torch.get_num_threads() if threads is None else threads
        found = find_program(program)
        if isinstance(model, torch.nn.Module):
            dtype, device = type_of(model, dtype), device_of(model, device)
        adapter = make_adapter(model, adapter_options, afterwards)
        directory = afterwards.enter_context(private_directory())
        listener = afterwards.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(os.path.join(directory, "socket"))
        listener.listen()
        candidate = f"exec: sh {shlex.quote(write_relay_script(directory))}"
        bundle = os.path.abspath(out) if out is not None else os.path.join(directory, "out")
        options = {"spec": os.fspath(spec), "out": bundle, "only": format_chapters(only), "dtype": dtype and TYPES[parse_type(dtype)],
                   "device": device, "threads": threads, "timeout": timeout,
                   "seed": seed, "longest": longest}
        given = [f"--{name}={value}" for name, value in options.items() if value is not None]
        child = afterwards.enter_context(run_program([found, "verify", candidate, *given]))
        output = serve_requests(child, listener, lambda: Server(adapter), quiet)
        return verdict(child.wait(), output, bundle, candidate)


# The model

def make_adapter(model: Any, options: dict[str, Any], afterwards: ExitStack) -> Any:
    """The argument of Server. `afterwards` restores the model, or any that is built."""
    if isinstance(model, Adapter):
        if options:
            raise TypeError(f"an adapter was made with its options already; {', '.join(options)} cannot be added")
        return preserve_models(model, afterwards)
    if isinstance(model, torch.nn.Module):
        preserve_model(model, afterwards)
        for parameter in model.parameters():
            # Gradients are judged of frozen models, too.
            if parameter.is_floating_point():
                parameter.requires_grad_()
        chosen = adapter_class(model)
        adapter = (Discovered(model, type(model).__name__) if chosen is Module and not options
                   else chosen(lambda specification: model, initialises=False, **options))
        adapter.placed = lambda model: model  # type: ignore[method-assign]  # neither moved nor converted
        return adapter
    if not callable(model):
        raise TypeError(f"model is of type {type(model).__name__}, expected a torch.nn.Module, a plumbline.Adapter or a function")

    def built(specification: dict[str, Any]) -> Adapter:
        first = [call(model, "model", specification=specification)]
        if isinstance(first[0], Adapter):
            return make_adapter(first[0], options, afterwards)
        if not isinstance(first[0], torch.nn.Module):
            raise Misused(f"it returned an object of type {type(first[0]).__name__}, expected a torch.nn.Module or a "
                          "plumbline.Adapter", line_of(model))
        adapter = adapter_class(first[0])(lambda specification: first.pop() if first else model(specification), **options)
        return preserve_models(adapter, afterwards)

    return built


def adapter_class(model: torch.nn.Module) -> type[Module]:
    """The adapter class for a model. Only transformers' own classes are known to follow its conventions."""
    return HuggingFace if type(model).__module__.startswith("transformers.") else Module


def preserve_models(adapter: Adapter, afterwards: ExitStack) -> Adapter:
    """The adapter, with its models preserved, since they may be the user's."""
    for part in list(vars(adapter).values()):
        if isinstance(part, torch.nn.Module):
            preserve_model(part, afterwards)
    afterwards.callback(restore_attributes, vars(adapter), dict(vars(adapter)))
    if isinstance(adapter, Module):
        placed = adapter.placed
        adapter.placed = lambda model: placed(preserve_model(model, afterwards))  # type: ignore[method-assign]
    return adapter


def preserve_model(model: torch.nn.Module, afterwards: ExitStack) -> torch.nn.Module:
    """The model, with gradients cleared; `afterwards` restores it."""
    afterwards.callback(Snapshot(model).restore)
    for parameter in model.parameters():
        parameter.grad = None
    return model


def type_of(model: torch.nn.Module, asked: Any) -> torch.dtype:
    """The model's floating type. Errors: ValueError where that is not the one asked for, or none to be judged in."""
    types = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    names = " and ".join(sorted(str(each) for each in types)) or "no floating type"
    if asked is None and len(types) == 1 and types <= set(TYPES):
        return types.pop()
    if asked is None:
        raise ValueError(f"the model's parameters are of {names}; models are judged in torch.float32 or torch.bfloat16")
    if parse_type(asked) not in types:
        raise ValueError(f"dtype={asked}: the model's parameters are of {names}, and it is judged as it is; to judge it in "
                         "another type, give a function(specification) that builds it")
    return asked


def parse_type(dtype: Any) -> torch.dtype:
    found = TYPE_NAMES.get(dtype, dtype)
    if found not in TYPES:
        raise ValueError(f"dtype={dtype}: expected torch.float32 or torch.bfloat16")
    return found


def device_of(model: torch.nn.Module, asked: Any) -> str:
    """The model's device, "cpu" or "cuda:0". Errors: ValueError where it has several, or not the one asked for."""
    devices = {str(parameter.device) for parameter in model.parameters()}
    if len(devices) != 1:
        raise ValueError(f"the model's parameters are on {' and '.join(sorted(devices)) or 'no device'}; expected one")
    own = devices.pop()
    if asked is not None and torch.device(asked) not in (torch.device(own), torch.device(own.partition(":")[0])):
        raise ValueError(f"device={asked}: the model is on {own}, and is judged where it is")
    return own


def format_chapters(only: Any) -> str | None:
    if only is None:
        return None
    return ",".join(map(str, [only] if isinstance(only, (int, str)) else only))


# The program

def find_program(given: str | None) -> str:
    """The path of the program. Errors: CouldNotJudge with advice."""
    for what, name in (("program=", given), ("the environment variable PLUMBLINE=", os.environ.get("PLUMBLINE"))):
        if name:
            found = shutil.which(name)
            if found is None:
                raise result.CouldNotJudge(f"{what}{name}: there is no such program")
            return os.path.abspath(found)
    in_tree = HERE.parents[2] / "plumbline"
    found = shutil.which("plumbline") or shutil.which(str(in_tree))
    if found is None:
        raise result.CouldNotJudge(
            "the program plumbline was not found: set the environment variable PLUMBLINE to its path, or give program=")
    return os.path.abspath(found)


@contextmanager
def private_directory() -> Iterator[str]:
    """A temporary directory whose path is short enough for a socket in it."""
    with ExitStack() as made:
        path = made.enter_context(tempfile.TemporaryDirectory(prefix="plumbline-"))
        if len(os.fsencode(path)) > LONGEST_SOCKET - len("/socket"):
            path = made.enter_context(tempfile.TemporaryDirectory(prefix="plumbline-", dir="/tmp"))
        yield path


def write_relay_script(directory: str) -> str:
    """Writes a script that starts the relay, so that the candidate has a short name in results."""
    path = os.path.join(directory, "model")
    words = [sys.executable or "python3", "-S", str(HERE / "relay.py"), os.path.join(directory, "socket")]
    with open(path, "w", encoding="utf-8") as script:
        script.write(f"exec {' '.join(map(shlex.quote, words))}\n")
    return path


@contextmanager
def run_program(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs the program and ends it, with its candidate, in any case."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                child.kill()


def serve_requests(child: subprocess.Popen[bytes], listener: socket.socket, new_server: Callable[[], Server],
             quiet: bool) -> tuple[str, ...]:
    """Answers the program's requests until it ends. Returns its (standard output, standard error)."""
    texts: dict[Any, list[str]] = {child.stdout: [], child.stderr: []}
    places: dict[Any, TextIO] = {child.stdout: sys.stdout, child.stderr: sys.stderr}
    decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in texts}
    with selectors.DefaultSelector() as sources, ExitStack() as connections:
        source: Any
        for source in (listener, *texts):
            sources.register(source, selectors.EVENT_READ)
        still_open = set(texts)
        while still_open:
            ready = sources.select(timeout=1)
            if not ready and child.poll() is not None:
                break  # another process still has its output open
            for source in [key.fileobj for key, _ in ready]:
                if source is listener:
                    # A restarted candidate gets a new server.
                    connection = connections.enter_context(listener.accept()[0])
                    sources.register(connection, selectors.EVENT_READ, Requests(connection, new_server()))
                elif source in texts:
                    data = os.read(source.fileno(), 1 << 16)
                    texts[source].append(decoders[source].decode(data))
                    if not quiet:
                        places[source].write(texts[source][-1])
                        places[source].flush()
                    if not data:
                        still_open.discard(source)
                        sources.unregister(source)
                elif not sources.get_key(source).data.answer():
                    sources.unregister(source)
    return tuple("".join(text) for text in texts.values())


class Requests:
    """The requests of one relay, a JSON object a line."""

    def __init__(self, connection: socket.socket, server: Server) -> None:
        self.connection, self.server = connection, server
        self.partial_line = b""  # without its end

    def answer(self) -> bool:
        """Reads available data and answers every complete line. Returns whether more may come."""
        try:
            data = self.connection.recv(1 << 16)
            *lines, self.partial_line = (self.partial_line + data).split(b"\n")
            for line in lines:
                reply = self.server.answer(json.loads(line))
                self.connection.sendall(json.dumps(reply).encode() + b"\n", NO_SIGPIPE)
        except OSError:
            return False  # the relay was stopped, for a late or too large answer
        return bool(data)


def verdict(status: int, output: tuple[str, ...], bundle: str, candidate: str) -> result.Result:
    """The Result. Errors: CouldNotJudge with the program's reason, or where its result is unusable."""
    try:
        found = result.read(bundle, candidate, status)
    except result.CouldNotJudge:
        if status in (0, 1, 3):
            raise
        raise result.CouldNotJudge(reason(status, output, candidate)) from None
    if status == 2:
        raise result.CouldNotJudge(str(found), found)
    return found


def reason(status: int, output: tuple[str, ...], candidate: str) -> str:
    """The program's error message or, without one, the last lines of its output."""
    said = [line for text in output for line in text.replace(candidate, "the model").splitlines() if line.strip()]
    if status == 2 and said and said[-1].startswith(PREFIX):
        return said[-1][len(PREFIX):]
    how = f"was stopped by signal {-status}" if status < 0 else f"ended with status {status}"
    return "\n".join([f"plumbline {how}", *said[-SHOWN_LINES:]])
