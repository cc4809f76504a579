"""A debuginfod server on the loopback interface."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """What is ``there`` by its path, which paths were ``asked`` for; it may lead elsewhere, or claim another length."""

    def __init__(self, there):
        self.there = there
        self.asked = []
        self.length = None
        self.redirect = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                if outer.redirect is not None:
                    self.send_response(302)
                    self.send_header("Location", outer.redirect)
                    self.end_headers()
                    return
                body = outer.there.get(self.path)
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Length", str(outer.length or len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_words):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
