# SPDX-License-Identifier: Apache-2.0
"""Web servers for http-01: one that answers with the key authorizations it was given, and ones that misbehave."""
import http.server
import socket
import ssl
import threading

PATH = "/.well-known/acme-challenge/"


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address, handler):
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def handle_error(self, request, client_address):
        pass  # clients that hang up are part of the tests


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        owner = self.server.owner
        host = (self.headers.get("Host") or "").rsplit(":", 1)[0] if "]" not in (self.headers.get("Host") or "") \
            else (self.headers.get("Host") or "").split("]")[0] + "]"
        with owner.lock:
            owner.requests.append((host, self.path, self.client_address[0], self.headers.get("User-Agent")))
            how = owner.routes.get((host, self.path)) or owner.routes.get((None, self.path))
        if how is None:
            how = (404, {}, b"nothing here")
        if callable(how):
            how = how(self)
        if how is None:
            return
        status, headers, body = how
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class HttpStub:
    """Serves the same routes at several addresses of one port."""

    def __init__(self, addresses, port, tls=None):
        self.lock = threading.Lock()
        self.routes = {}     # (host or None, path) -> (status, headers, body) or function(handler)
        self.requests = []   # (host, path, client address, user agent)
        self.port = port
        self.servers = []
        for address in addresses:
            server = Server((address, port), Handler)
            if tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*tls)
                server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            server.owner = self
            self.servers.append(server)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def put(self, token, key_authorization, host=None):
        """The right answer to a challenge."""
        with self.lock:
            self.routes[(host, PATH + token)] = (200, {"Content-Type": "application/octet-stream"},
                                                 key_authorization.encode())

    def route(self, path, how, host=None):
        with self.lock:
            self.routes[(host, path)] = how

    def seen(self, path):
        with self.lock:
            return [r for r in self.requests if r[1] == path]


class RawServer:
    """Accepts TCP connections and does with each what a function says."""

    def __init__(self, address, port, serve):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((address, port))
        self.sock.listen(20)
        self.serve = serve
        self.connections = 0
        self.stop = threading.Event()
        threading.Thread(target=self.loop, daemon=True).start()

    def loop(self):
        while not self.stop.is_set():
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.one, args=(conn,), daemon=True).start()

    def one(self, conn):
        with conn:
            try:
                self.serve(conn, self.stop)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
