"""The protocol's schema, its document and the program that speaks it say the same."""

import copy
import functools
import importlib.util
import json
import os
import pathlib
import re
import sys

import jsonschema
import pytest

HARNESS = pathlib.Path(__file__).resolve().parents[1]
MODELS = HARNESS / "python" / "tests"
SCHEMA = json.loads((HARNESS / "candidate" / "protocol.schema.json").read_text())
NAMES = [one["$ref"].removeprefix("#/$defs/").removesuffix("_request") for one in SCHEMA["oneOf"]]

# Stands between the two and writes down what each says: a request's line, its reply's line.
TEE = r"""
import subprocess, sys

served = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
with open(sys.argv[1], "wb") as log:
    for request in sys.stdin.buffer:
        served.stdin.write(request)
        served.stdin.flush()
        reply = served.stdout.readline()
        log.write(request + reply)
        log.flush()
        sys.stdout.buffer.write(reply)
        sys.stdout.buffer.flush()
served.stdin.close()
sys.exit(served.wait())
"""

# Greets with the line that it is given, and has zeros of every parameter that this names.
GREETER = r"""
import json, struct, sys

greeting = open(sys.argv[1]).read()
directory = ""
for line in sys.stdin:
    request = json.loads(line)
    reply = {"id": request["id"]}
    if request["request"] == "hello":
        directory = request["directory"]
    if request["request"] == "weights":
        entries, end = {}, 0
        for parameter in json.loads(greeting)["parameters"]:
            begin = end
            elements = 4
            for size in parameter["shape"]:
                elements *= size
            end += elements
            entries[parameter["name"]] = {"dtype": "F32", "shape": parameter["shape"], "data_offsets": [begin, end]}
        header = json.dumps(entries).encode()
        with open(directory + "/weights", "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header + bytes(end))
        reply["tensors"] = "weights"
    print(greeting if request["request"] == "hello" else json.dumps(reply), flush=True)
    if request["request"] == "bye":
        break
"""

HELLO = {
    "id": 1, "protocol": 1, "name": "Greeter", "framework": "none", "dtype": "float32", "device": "cpu",
    "configuration": {"vocab_size": {"value": 101, "where": "here"}, "rope_theta": {"value": 1e6, "where": "here"},
                      "hidden_act": {"value": "silu", "where": "here"}, "mlp_bias": {"value": False, "where": "here"}},
    "parameters": [{"name": "w", "shape": [4, 6], "dtype": "float32"}, {"name": "v", "shape": [6], "dtype": "float32"}],
    "tied": [["w", "head"]], "mapping": None,
    "can": {"load": False, "modes": ["evaluation"], "padding": [], "stages": ["logits"], "operations": [],
            "cache": {"axes": ["batch", "position", "head", "size"], "chunks": True, "padding": []}},
}
MISSING = object()
PARAMETER = HELLO["parameters"][0]


def named(name):
    return [{**PARAMETER, "name": name}]


def shaped(*shape):
    return [{**PARAMETER, "shape": list(shape)}]


def mapped(value, name="a.b"):
    return {name: value}


# What is changed in HELLO, to what, and words of the complaint.
BROKEN = [
    ("protocol", 2, "protocol 1"),
    ("protocol", MISSING, "protocol 1"),
    ("protocol", True, "protocol 1"),
    ("id", "1", "expected a reply to request 1"),
    ("error", None, "unknown kind"),
    ("tensors", "../x", "plain name"),
    ("name", MISSING, "'name' is not a text"),
    ("framework", 2.6, "'framework' is not a text"),
    ("mapping", mapped({"from": "w", "slice": [0, 0, 0]}), "'slice' is [0,0,0]"),
    ("parameters", shaped(*[1] * 65), "'w' has 65 axes"),
    ("dtype", None, "'dtype' is not a text"),
    ("device", MISSING, "'device' is not a text"),
    ("device", 7, "'device' is not a text"),
    ("can.modes", "evaluation", "'modes' is not a list"),
    ("can.padding", "right", "'padding' is not a list"),
    ("can.operations", "rotate", "'operations' is not a list"),
    ("can.stages", 5, "'stages' is not a list"),
    ("can.stages", [5], "'stages' lists 5"),
    ("mapping", mapped({"from": "w", "slice": [0, "{layer}", 1]}, "a.{layer}.b"), "'slice' is [0,\"{layer}\",1]"),
    ("dtype", "float64", "runs in float64"),
    ("can", MISSING, "'can' is not an object"),
    ("can.modes", MISSING, "can.modes"),
    ("can.modes", ["training"], "can.modes"),
    ("can.modes", ["evaluation", "dreaming"], "'modes' lists \"dreaming\""),
    ("can.load", "yes", "'load' is not true or false"),
    ("can.dropout", None, "'dropout' is not true or false"),
    ("can.padding", ["right", "top"], "'padding' lists \"top\""),
    ("can.operations", ["rotate", "sing"], "'operations' lists \"sing\""),
    ("can.cache", True, "can.cache"),
    ("can.cache.axes", ["batch", "head", "size", "size"], "can.cache.axes"),
    ("can.cache.axes", ["batch", "head", "size"], "can.cache.axes"),
    ("can.cache.axes", "batch", "can.cache.axes"),
    ("can.cache.chunks", 1, "'chunks' is not true or false"),
    ("can.cache.padding", ["none"], "'padding' lists \"none\""),
    ("parameters", MISSING, "'parameters' is not a list"),
    ("parameters", [], "no parameters"),
    ("parameters", ["w"], "name, shape or dtype"),
    ("parameters", [{"name": "w", "shape": [4]}], "name, shape or dtype"),
    ("parameters", named(""), "parameter name ''"),
    ("parameters", named("a\nb"), "parameter name 'a?b'"),
    ("parameters", named("w" * 81), "parameter name 'www"),
    ("parameters", shaped(4, 0), "'w' has shape [4,0]"),
    ("parameters", shaped(4, "6"), "'w' has shape [4,\"6\"]"),
    ("parameters", shaped(2**31 + 1), "'w' has shape [2147483649]"),
    ("parameters", [{**PARAMETER, "dtype": "int64"}], "'w' has type 'int64'"),
    ("tied", ["w"], "'tied' is not a list of lists"),
    ("tied", [["w"]], "'tied' is not a list of lists"),
    ("tied", [["w", 2]], "'tied' is not a list of lists"),
    ("configuration", None, "'configuration' is not an object"),
    ("configuration.sparkle", {"value": 1, "where": "here"}, "configuration.sparkle: no such setting"),
    ("configuration.vocab_size", 101, "configuration.vocab_size: expected an object"),
    ("configuration.vocab_size", {"value": 101}, "configuration.vocab_size: expected an object"),
    ("configuration.vocab_size.value", [101], "configuration.vocab_size: expected a number"),
    ("configuration.vocab_size.value", "101", "configuration.vocab_size is \"101\""),
    ("configuration.vocab_size.value", 0, "configuration.vocab_size is 0"),
    ("configuration.vocab_size.value", 2**30 + 1, "configuration.vocab_size is 1073741825"),
    ("configuration.rope_theta.value", "1e6", "configuration.rope_theta is \"1e6\""),
    ("configuration.hidden_act.value", 1, "configuration.hidden_act is 1"),
    ("configuration.mlp_bias.value", 0, "configuration.mlp_bias is 0"),
    ("mapping", [], "'mapping' has the wrong type"),
    ("mapping", mapped(None), "mapping of 'a.b': expected the candidate's name"),
    ("mapping", mapped([]), "mapping of 'a.b': names nothing"),
    ("mapping", mapped({"view": [24]}), "mapping of 'a.b': expected the candidate's name, or an object with 'from'"),
    ("mapping", mapped({"from": "w", "turn": 1}), "mapping of 'a.b': unknown step 'turn'"),
    ("mapping", mapped({"from": "w", "view": []}), "mapping of 'a.b': 'view' is []"),
    ("mapping", mapped({"from": "w", "view": [2, "12"]}), "mapping of 'a.b': 'view' is [2,\"12\"]"),
    ("mapping", mapped({"from": "w", "select": [0]}), "mapping of 'a.b': 'select' is [0]"),
    ("mapping", mapped({"from": "w", "slice": [0, 1]}), "mapping of 'a.b': 'slice' is [0,1]"),
    ("mapping", mapped({"from": "w", "flatten": 0}), "mapping of 'a.b': 'flatten' is 0"),
    ("mapping", mapped({"from": "w", "transpose": False}), "mapping of 'a.b': 'transpose' is false"),
]

# Broken too, in a way that a schema does not see.
UNSEEN = [
    ("id", 2, "expected a reply to request 1"),
    ("dtype", "bfloat16", "runs in bfloat16, but float32 was requested"),
    ("parameters", [PARAMETER, PARAMETER], "'w' is listed twice"),
    ("parameters", named("é" * 41), "parameter name 'éé"),
    ("parameters", shaped(2**16, 2**16), "'w' has shape [65536,65536]"),
    ("parameters", shaped(4.0, 6), "'w' has shape [4.0,6]"),
    ("configuration.vocab_size.value", 101.0, "configuration.vocab_size is 101.0"),
    ("mapping", mapped("nowhere"), "mapping of 'a.b': the candidate has no parameter \"nowhere\""),
    ("mapping", mapped(["w", "w"]), "mapping of 'a.b': another line already uses some elements of w"),
    ("mapping", mapped("w{layer}"), "mapping of 'a.b': the value contains {layer}"),
    ("mapping", mapped("w", "a.{layer}.b"), "mapping of 'a.{layer}.b': the name contains {layer}"),
    ("mapping", mapped({"from": "w", "view": [5, 5]}), "step view [5,5] does not fit"),
    ("mapping", mapped({"from": "w", "select": [2, 0]}), "step select [2,0] does not fit"),
    ("mapping", mapped({"from": "w", "flatten": [1, 0]}), "step flatten [1,0] does not fit"),
    ("mapping", mapped({"from": "w", "select": [0, 0], "flatten": [7, 0]}), "step flatten [7,0] does not fit"),
    ("tied", [["a", "w"]], "tied: 'parameters' lists 'w', but only the first name of a group belongs there, 'a'"),
    ("mapping", mapped({"from": "w", "slice": [0, 3, 2]}), "step slice [0,3,2] does not fit"),
    ("parameters", [{**PARAMETER, "name": str(i), "shape": [2**31]} for i in range(200)], "MiB of parameters"),
]

# On the edge, and allowed.
ALLOWED = [
    ("configuration", MISSING),
    ("configuration", {}),
    ("configuration.rope_theta.value", 1000000),
    ("configuration.vocab_size.value", 2**30),
    ("configuration.vocab_size.value", 1),
    ("configuration.vocab_size.where", ""),
    ("tied", MISSING),
    ("tied", None),
    ("tied", []),
    ("mapping", MISSING),
    ("mapping", {}),
    ("mapping", mapped([{"from": "w", "slice": [0, -2, 2]}, {"from": "w", "slice": [0, 0, 2]}])),
    ("mapping", mapped({"flatten": [0, -1], "slice": [0, 1, 1], "select": [0, 1], "view": [2, 2, -1], "from": "w"})),
    ("mapping", mapped({"from": "w", "transpose": True})),
    ("mapping", mapped({"from": "w", "select": [-2, "{layer}"]}, "a.{layer}.b")),
    ("can", {"modes": ["training", "evaluation"]}),
    ("can.padding", None),
    ("can.operations", ["repeat_kv", "rotate"]),
    ("can.juggle", 7),
    ("can.cache", None),
    ("can.cache", {}),
    ("can.cache.axes", None),
    ("can.cache.axes", ["size", "head", "position", "batch"]),
    ("parameters", shaped()),
    ("parameters", shaped(1)),
    ("parameters", named("w" * 80)),
    ("parameters", named("é")),
    ("name", ""),
    ("protocol", 1.0),
    ("tensors", None),
    ("greeting", "hello"),
]


def changed(key, value):
    """HELLO with another value there, a.b.c being the c of the b of a."""
    hello = copy.deepcopy(HELLO)
    *path, last = key.split(".")
    place = hello
    for step in path:
        place = place[step]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return hello


@functools.cache
def validator(definition):
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{definition}", "$defs": SCHEMA["$defs"]})


def complaints(definition, line):
    """What the schema has against this line."""
    return [f"{error.json_path}: {error.message}"[:500] for error in validator(definition).iter_errors(line)]


def defined(kind):
    return [name.removesuffix(kind) for name in SCHEMA["$defs"] if name.endswith(kind)]


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_document_and_the_schema_name_the_same_requests():
    document = (HARNESS / "candidate" / "protocol.md").read_text()
    headings = re.findall(r"^### (\w+)$", document, re.MULTILINE)
    assert headings == NAMES
    assert headings == defined("_request")
    assert headings == [name for name in defined("_reply") if name != "error"]


@pytest.fixture(scope="module")
def said(program, tmp_path_factory):
    """What is really said to all our own adapters: (request, its reply) of each conversation."""
    others = os.environ.get("PYTHONPATH")
    paths = os.pathsep.join([str(HARNESS / "python"), str(MODELS), *([others] if others else [])])
    conversations = {}
    for adapter in ["plain", "minimind"] + (["llama"] if importlib.util.find_spec("transformers") else []):
        folder = tmp_path_factory.mktemp(adapter)
        (folder / "tee.py").write_text(TEE)
        served = f"{sys.executable} -m plumbline.serve {MODELS / adapter}_adapter.py"
        run = program("verify", f"exec: exec {sys.executable} tee.py log {served}", "--spec", "tiny", "--dtype", "f32", "--threads", "1",
                      cwd=folder, env={**os.environ, "PYTHONPATH": paths})
        lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
        conversations[adapter] = list(zip(lines[::2], lines[1::2], strict=True))
        assert lines and lines[-2]["request"] == "bye", f"{adapter}: {run.stdout[-2000:]}{run.stderr}"
    return conversations


def test_every_line_is_as_defined(said):
    for adapter, conversation in said.items():
        for request, reply in conversation:
            name, where = request["request"], f"of {adapter}, request {request['id']}"
            assert complaints(f"{name}_request", request) == [], where
            assert complaints("error_reply" if "error" in reply else f"{name}_reply", reply) == [], where
            assert complaints("reply", reply) == [], where
            assert reply["id"] == request["id"], where


def test_a_line_is_one_of_the_requests(said, subtests):
    whole = jsonschema.Draft202012Validator(SCHEMA)
    for name, request in {request["request"]: request for request, _ in said["plain"]}.items():
        with subtests.test(name):
            assert whole.is_valid(request)
            assert not whole.is_valid({**request, "more": 1})
            for key in request:
                if key != "end":  # a text need not have one
                    assert not whole.is_valid({**request, key: None}), key
                assert not whole.is_valid({other: request[other] for other in request if other != key}), key


def test_every_request_is_sent(said):
    sent = {request["request"] for conversation in said.values() for request, _ in conversation}
    assert sent == set(NAMES)


def test_every_stage_is_asked_for(said):
    asked = {stage for request, _ in said["plain"] for stage in request.get("observe", [])}
    assert asked == set(SCHEMA["$defs"]["observe"]["items"]["enum"])


# The schema and the program refuse the same hellos.


@pytest.fixture
def greeted(program, tmp_path):
    """(exit status, complaint) of a candidate that says a text when it is greeted."""
    (tmp_path / "greeter.py").write_text(GREETER)

    def check(text):
        (tmp_path / "greeting").write_text(text)
        run = program("adapter", "check", f"exec: exec {sys.executable} greeter.py greeting", "--spec", "tiny", "--threads", "1", cwd=tmp_path)
        return run.returncode, run.stderr
    return check


def check_refused(greeted, hello, words):
    status, complaint = greeted(json.dumps(hello))
    assert status == 2, complaint
    assert len(complaint.splitlines()) == 1, complaint
    assert words in complaint


@pytest.mark.parametrize(("key", "value", "words"), BROKEN)
def test_broken_ones(greeted, key, value, words):
    hello = changed(key, value)
    assert complaints("hello_reply", hello) != []
    check_refused(greeted, hello, words)


@pytest.mark.parametrize(("key", "value", "words"), UNSEEN)
def test_broken_ones_that_the_schema_does_not_see(greeted, key, value, words):
    hello = changed(key, value)
    assert complaints("hello_reply", hello) == []
    check_refused(greeted, hello, words)


def test_a_key_that_stands_twice(greeted):
    twice = json.dumps(HELLO)[:-1] + ', "dtype": "float32"}'
    assert greeted(twice)[0] == 2


@pytest.mark.parametrize(("key", "value"), ALLOWED)
def test_those_on_the_edge(greeted, key, value):
    hello = changed(key, value)
    assert complaints("hello_reply", hello) == []
    assert greeted(json.dumps(hello)) == (0, "")


@pytest.mark.parametrize(("key", "value", "known"), [
    ("configuration.sparkle", {"value": 1, "where": "here"}, SCHEMA["$defs"]["configuration"]["properties"]),
    ("can.modes", ["dreaming"], SCHEMA["$defs"]["mode"]["enum"]),
    ("can.padding", ["top"], SCHEMA["$defs"]["sides"]["items"]["enum"]),
    ("can.operations", ["sing"], SCHEMA["$defs"]["can"]["properties"]["operations"]["items"]["enum"]),
], ids=["configuration", "modes", "padding", "operations"])
def test_the_schema_knows_the_words_that_the_program_knows(greeted, key, value, known):
    complaint = greeted(json.dumps(changed(key, value)))[1]
    words = re.search(r"known are ([\w, ]+)", complaint)[1].split(", ")
    assert sorted(words) == sorted(known)
