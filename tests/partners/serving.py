"""What the servers of this folder have in common: JSON over HTTP on a free port of loopback, and a count of what was answered.

A server prints `listening on http://127.0.0.1:PORT` once it can answer, and ends on SIGTERM, or when its standard input is closed:
so it outlives nobody who started it. `GET /stats` says how many requests it answered, and how many tokens it billed for them.
"""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Refusal(Exception):
    """A request that is answered with an error: its status, and a body in the form of the OpenAI API."""

    def __init__(self, status, message, kind="invalid_request_error"):
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": None, "code": None}}


class Bill:
    """Answers and tokens so far, by the name of what was asked for."""

    def __init__(self):
        self._lock = threading.Lock()
        self._lines = {}

    def add(self, name, usage):
        usage = usage or {}
        with self._lock:
            line = self._lines.setdefault(name, {"answers": 0, "inputTokens": 0, "outputTokens": 0})
            line["answers"] += 1
            line["inputTokens"] += usage.get("prompt_tokens") or 0
            line["outputTokens"] += usage.get("completion_tokens") or 0

    def lines(self):
        with self._lock:
            return json.loads(json.dumps(self._lines))


def end_with_parent():
    """Ends this process when its standard input is closed, and quietly on SIGTERM."""

    def watch():
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def serve(routes, bill):
    """Serves POST requests: `routes` has a function for each path, from the request's body to the answer's."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            if self.path == "/stats":
                self.answer(200, bill.lines())
            else:
                self.answer(404, Refusal(404, f"there is nothing at {self.path}").body)

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            try:
                route = routes.get(self.path)
                if route is None:
                    raise Refusal(404, f"there is nothing at {self.path}")
                self.answer(200, route(json.loads(body)))
            except Refusal as refusal:
                self.answer(refusal.status, refusal.body)
            except Exception as error:  # a bug of ours is to be seen by those who asked
                self.answer(500, Refusal(500, f"{type(error).__name__}: {error}", "server_error").body)
                raise

        def answer(self, status, value):
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    end_with_parent()
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
