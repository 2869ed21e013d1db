"""Plays an OpenAI-compatible endpoint on this machine: answers by a script, counts what it is asked."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[str, int], object]  # (user prompt, how often it was asked before) → reply text or a Trouble


class Trouble:
    """An answer that is no reply: a status with headers, a raw body, or silence."""

    def __init__(self, status=200, *, body=b"", headers=(), seconds=0.0):
        self.status, self.body, self.headers, self.seconds = status, body, dict(headers), seconds


class FakeEndpoint(ThreadingHTTPServer):
    """`asked` counts requests by prompt, `bodies` and `headers` hold what arrived, `busiest` the most at once."""

    daemon_threads = True

    def __init__(self, answer: Answer):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.asked, self.bodies, self.headers = answer, Counter(), [], []
        self.lock, self.busy, self.busiest = threading.Lock(), 0, 0
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def handle_error(self, *_):  # a client that was killed or gave up is part of the play
        pass

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt, server = body["messages"][-1]["content"], self.server
        with server.lock:
            before = server.asked[prompt]
            server.asked[prompt] += 1
            server.bodies.append((self.path, body))
            server.headers.append(dict(self.headers))
            server.busy += 1
            server.busiest = max(server.busiest, server.busy)
        answer = server.answer(prompt, before)
        if not isinstance(answer, Trouble):
            usage = {"prompt_tokens": 10, "completion_tokens": 5}
            choice = {"message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
            answer = Trouble(body=json.dumps({"choices": [choice], "usage": usage}).encode())
        time.sleep(answer.seconds)
        with server.lock:
            server.busy -= 1
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_):
        pass
