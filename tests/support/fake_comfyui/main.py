"""A fake ComfyUI: HTTP, WebSocket, queue and cache as in 0.3.75, with nothing but the standard library.

FAKE_COMFYUI holds words, separated by commas, that make it misbehave:

die_importing             ends with status 1 while it imports custom nodes
die_starting, exit_zero   ends before it answers, with status 1 or 0
never_ready, slow_start   does not answer, or not before there is a file `go` in the input directory
port_race                 finds its port taken at its first start
ignore_term, grandchild   ignores SIGTERM; leaves a child that holds the log open
lose_ws                   closes each client's socket at the first message of a prompt and never opens it again
die_running, worker_dies  the process, or only its worker thread, dies at the first prompt
worker_exits, worker_gone its worker thread ends without a word, at the first prompt or before it
wedge                     stops at the first prompt and neither answers nor does anything
exec_restart              becomes itself anew at the first prompt, as ComfyUI-Manager does
forget                    drops prompts from the queue
oom, cuda_error           the first node of a prompt fails as PyTorch does
cut_post                  takes a prompt and closes the connection without an answer
old_names                 tells an output node's earlier files whatever other inputs it has
stuck                     ignores interruptions

`word=n` misbehaves at the first n prompts only, over all processes of a home.
"""
import base64
import hashlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from comfy.cli_args import args
import folder_paths
import nodes
from execution import Executor, validate

WORDS = [word.partition("=") for word in filter(None, os.environ.get("FAKE_COMFYUI", "").split(","))]
MISBEHAVIOUR = {word: int(count or 1 << 30) for word, _, count in WORDS}
sockets = {}
seen_clients = set()


def misbehave():
    """What goes wrong before the port opens."""
    if "ignore_term" in MISBEHAVIOUR:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "grandchild" in MISBEHAVIOUR:
        # It inherits the log and outlives a supervisor that only thinks of its own child.
        nodes.say(f"grandchild {subprocess.Popen(['sleep', '1000']).pid}")
    if "die_starting" in MISBEHAVIOUR:
        raise ModuleNotFoundError("No module named 'requests'")
    if "exit_zero" in MISBEHAVIOUR:
        sys.exit(0)
    if "port_race" in MISBEHAVIOUR:
        marker = os.path.join(folder_paths.directories["output"], "port_race")
        if not os.path.exists(marker):
            open(marker, "w").close()
            raise OSError(98, "error while attempting to bind on address ('127.0.0.1', 1): address already in use")
    while "never_ready" in MISBEHAVIOUR:
        time.sleep(1)
    if "slow_start" in MISBEHAVIOUR:
        # Until the test says that it has seen enough.
        while not os.path.exists(os.path.join(folder_paths.directories["input"], "go")):
            time.sleep(0.01)


def send(client, message):
    """Sends to the client's socket, if it is open; nothing is kept for later."""
    socket = sockets.get(client)
    if socket is None:
        return
    try:
        if "lose_ws" in MISBEHAVIOUR:
            sockets.pop(client)
            socket.shutdown(2)
        else:
            socket.sendall(frame(message))
    except OSError:
        sockets.pop(client, None)


def frame(message):
    payload = json.dumps(message).encode()
    length = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack(">H", len(payload))
    if len(payload) > 0xFFFF:
        length = b"\x7f" + struct.pack(">Q", len(payload))
    return b"\x81" + length + payload


def restart():
    """What ComfyUI-Manager does at /manager/reboot: the same process executes ComfyUI anew."""
    nodes.say("Restarting...")
    os.execv(sys.executable, [sys.executable, *sys.argv])


executor = Executor(send, MISBEHAVIOUR, restart)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, value=None, status=200, content=None, kind="application/json"):
        body = content if content is not None else b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        verb, *rest = [urllib.parse.unquote(part) for part in url.path.strip("/").split("/")]
        if verb == "prompt":
            self.answer({"exec_info": {"queue_remaining": len(executor.pending) + len(executor.running)}})
        elif verb == "system_stats":
            self.answer({"system": {"comfyui_version": "fake", "argv": sys.argv}, "devices": []})
        elif verb == "queue":
            with executor.changed:
                self.answer({"queue_running": executor.running, "queue_pending": executor.pending})
        elif verb == "history":
            known = executor.history
            self.answer({id: known[id] for id in rest if id in known} if rest else known)
        elif verb == "object_info":
            classes = {rest[0]: nodes.NODE_CLASS_MAPPINGS.get(rest[0])} if rest else nodes.NODE_CLASS_MAPPINGS
            self.answer({name: info(name, cls) for name, cls in classes.items() if cls})
        elif verb == "models" and rest:
            known = rest[0] in folder_paths.folder_names_and_paths
            self.answer(folder_paths.get_filename_list(rest[0]) if known else None, 200 if known else 404)
        elif verb == "models":
            self.answer(list(folder_paths.folder_names_and_paths))
        elif verb == "view":
            self.view(query)
        elif verb == "manager" and rest == ["reboot"]:
            restart()
        elif verb == "ws":
            self.websocket(query.get("clientId"))
        else:
            self.answer(status=404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or self.read_chunks()
        verb = self.path.strip("/")
        if verb == "upload/image":
            return self.upload(body)
        data = json.loads(body or b"{}")
        if verb == "prompt":
            failure, outputs, node_errors = validate(data["prompt"])
            if failure:
                return self.answer({"error": failure, "node_errors": node_errors}, 400)
            executor.put(data["prompt_id"], data["prompt"], {"client_id": data.get("client_id")}, outputs)
            if executor.meets("cut_post"):
                self.close_connection = True
                return self.connection.shutdown(2)
            self.answer({"prompt_id": data["prompt_id"], "number": 0, "node_errors": node_errors})
        elif verb == "queue":
            with executor.changed:
                executor.pending[:] = [item for item in executor.pending if item[1] not in data.get("delete", [])]
            self.answer()
        elif verb == "interrupt":
            running = [item[1] for item in executor.running]
            if "stuck" not in MISBEHAVIOUR:
                executor.interrupted = executor.interrupted or data.get("prompt_id", running[:1]) in running
            self.answer()
        elif verb == "free":
            nodes.say("freed")
            executor.cache.clear()
            nodes.say("freed")
            self.answer()
        else:
            self.answer(status=404)

    def read_chunks(self):
        content = b""
        while self.headers.get("Transfer-Encoding") == "chunked":
            size = int(self.rfile.readline(), 16)
            content += self.rfile.read(size)
            self.rfile.readline()
            if size == 0:
                break
        return content

    def upload(self, body):
        boundary = self.headers["Content-Type"].split("boundary=")[1].encode()
        fields, name = {}, None
        for part in body.split(b"--" + boundary)[1:-1]:
            head, _, content = part.partition(b"\r\n\r\n")
            attributes = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', head.decode()))
            fields[attributes["name"]] = content[:-2]
            name = attributes.get("filename", name)
        name = re.sub(r"\\(.)", r"\1", name)
        subfolder = fields.get("subfolder", b"").decode()
        directory = os.path.join(folder_paths.directories["input"], subfolder)
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, name), "wb") as file:
            file.write(fields["image"])
        self.answer({"name": name, "subfolder": subfolder, "type": "input"})

    def view(self, query):
        path = os.path.join(folder_paths.directories[query.get("type", "output")], query.get("subfolder", ""),
                            query["filename"])
        if not os.path.isfile(path):
            return self.answer(status=404)
        self.answer(content=open(path, "rb").read(), kind="application/octet-stream")

    def websocket(self, client):
        if "lose_ws" in MISBEHAVIOUR and client in seen_clients:
            return self.answer(status=503)
        seen_clients.add(client)
        accept = hashlib.sha1((self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode())
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(accept.digest()).decode())
        self.end_headers()
        self.wfile.flush()
        sockets[client] = self.connection
        self.connection.sendall(frame({"type": "status", "data": {"status": {}, "sid": client}}))
        while self.rfile.read(1):
            pass
        self.close_connection = True


def info(name, cls):
    return {"input": cls.INPUT_TYPES(), "output": cls.RETURN_TYPES, "name": name, "display_name": name,
            "python_module": cls.RELATIVE_PYTHON_MODULE, "output_node": getattr(cls, "OUTPUT_NODE", False)}


if __name__ == "__main__":
    nodes.say("ComfyUI version: fake")
    nodes.load_custom_nodes()
    if "die_importing" in MISBEHAVIOUR:
        raise ImportError("libcudart.so.12: cannot open shared object file")
    misbehave()
    threading.Thread(target=executor.work, daemon=True).start()
    server = ThreadingHTTPServer((args.listen.split(",")[0], args.port), Handler)
    server.daemon_threads = True
    nodes.say(f"Starting server\n\nTo see the GUI go to: http://{args.listen}:{args.port}")
    server.serve_forever()
