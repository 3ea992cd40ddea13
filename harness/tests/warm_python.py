"""A Python that has imported torch already: loading it takes longer than judging a small model.

WarmPython is a server that forks for each `python -m plumbline.serve ADAPTER`. Its `path` is given to `--python`: a small program
that hands its arguments, folder, environment and standard streams over and waits; whoever kills it kills what was forked. Tests
of failures, kills and of the start itself use an interpreter of their own."""

import array
import contextlib
import json
import os
import pathlib
import random
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading

# Whoever is no server, or asks for something else, is the usual interpreter.
CLIENT = """#!{python} -IS
import array, json, os, socket, sys
given = sys.argv[1:]
connection = socket.socket(socket.AF_UNIX)
try:
    if given[:2] != ["-m", "plumbline.serve"]:
        raise OSError
    connection.connect({address!r})
except OSError:
    os.execv({python!r}, [{python!r}, *given])
message = json.dumps([given[2:], os.getcwd(), dict(os.environ)]).encode()
rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
connection.sendmsg([len(message).to_bytes(4, "little")], [rights])
connection.sendall(message)
for stream in (0, 1, 2):
    os.close(stream)
status = connection.recv(1)
os._exit(status[0] if status else 1)
"""


class WarmPython:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        address = str(pathlib.Path(self.folder.name) / "socket")
        self.path = pathlib.Path(self.folder.name) / "python"
        self.path.write_text(CLIENT.format(python=sys.executable, address=address))
        self.path.chmod(0o755)
        self.server = subprocess.Popen([sys.executable, __file__, address], stdout=subprocess.PIPE)
        if self.server.stdout.read(1) != b".":
            raise RuntimeError("the server of interpreters did not start")

    def close(self):
        self.server.kill()
        self.server.wait()
        self.server.stdout.close()
        self.folder.cleanup()


def received(connection):
    """(arguments, folder, environment, streams) of a client."""
    streams = array.array("i")
    size, ancillary, *_ = connection.recvmsg(4, socket.CMSG_SPACE(3 * streams.itemsize))
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            streams.frombytes(data)
    message = b""
    while len(message) < int.from_bytes(size, "little"):
        message += connection.recv(1 << 20)
    return (*json.loads(message), streams)


def become(arguments, folder, environment, streams):
    """What `python -m plumbline.serve` is in that folder and environment."""
    for stream, own in enumerate(streams):
        os.dup2(own, stream)
        os.close(own)
    usual = [path for path in sys.path[1:] if path not in os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *usual]
    sys.argv = ["", *arguments]
    tempfile.tempdir = None
    random.seed()
    runpy.run_module("plumbline.serve", run_name="__main__", alter_sys=True)


def look_after(connection):
    """Forks the interpreter, ends it where the client is gone, and tells the client how it ended."""
    given = received(connection)
    child = os.fork()
    if child == 0:
        connection.close()
        try:
            become(*given)
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))
        except BaseException:
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    for stream in given[3]:
        os.close(stream)

    def kill_when_alone():
        connection.recv(1)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    threading.Thread(target=kill_when_alone, daemon=True).start()
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        connection.send(bytes([os.waitstatus_to_exitcode(status) & 255]))
    os._exit(0)


def serve(address):
    import torch  # noqa: F401
    with contextlib.suppress(ImportError):
        from transformers import LlamaConfig, LlamaForCausalLM  # noqa: F401
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    os.write(1, b".")
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            look_after(connection)
        connection.close()


if __name__ == "__main__":
    serve(sys.argv[1])
