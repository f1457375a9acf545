#!/usr/bin/env python3
"""The quickstart's Python service, on the standard library alone.

It knows nothing of the mesh: it listens on a loopback port, and the sidecar
beside it watches its /healthz and registers it.

    LISTEN=127.0.0.1:9101 INSTANCE=users-1 python3 users.py
"""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

INSTANCE = os.environ.get("INSTANCE", "users-1")


class Count:
    """Requests served; health checks and statistics are not counted."""

    def __init__(self):
        self._lock = threading.Lock()
        self._n = 0

    def add(self):
        with self._lock:
            self._n += 1

    def value(self):
        with self._lock:
            return self._n


REQUESTS = Count()


class Users(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive
    wbufsize = -1  # head and body leave in one write ...
    disable_nagle_algorithm = True  # ... and at once
    timeout = 120  # seconds that a connection may be idle

    def do_GET(self):
        if self.path == "/healthz":
            self.answer(200, {"status": "ok"})
        elif self.path == "/stats":
            self.answer(200, {"instance": INSTANCE, "requests": REQUESTS.value()})
        elif self.path.startswith("/users/") and len(self.path) > len("/users/"):
            REQUESTS.add()
            user = self.path[len("/users/"):]
            self.answer(200, {
                "id": user,
                "name": "user " + user,
                "instance": INSTANCE,
                "request_id": self.headers.get("X-Request-Id", ""),
            })
        else:
            self.answer(404, {"error": "there is GET /users/<id>", "reason": "not_found"})

    def answer(self, status, value):
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass  # the sidecar writes the access log


class Server(ThreadingHTTPServer):
    daemon_threads = True  # idle connections do not hold up the end
    request_queue_size = 128


def main():
    host, _, port = os.environ.get("LISTEN", "127.0.0.1:9101").rpartition(":")
    server = Server((host, int(port)), Users)
    # shutdown() waits for the loop that runs in this very thread.
    stop = threading.Thread(target=server.shutdown)
    signal.signal(signal.SIGTERM, lambda *_: stop.start())
    try:
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
