"""file_server.py DIR FILE: serves DIR, with ranges and listings, on a free port of this machine that it writes to FILE. The first
answer with a body for each path that holds "cut" ends half way; the first one for "busy" is 503. "whole" knows no ranges, and
"terse" does not say in a 416 how long the file is. FILE.log has a line for each GET of a file: its name and where it begins."""
import http.server
import os
import sys

seen = set()


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def __init__(self, *args):
        super().__init__(*args, directory=sys.argv[1])

    def log_message(self, *args):
        pass

    def do_GET(self):
        path = self.translate_path(self.path)
        first = self.path not in seen
        seen.add(self.path)
        if "busy" in self.path and first:
            self.send_error(503)
            return
        if not os.path.isfile(path):
            super().do_GET()
            return
        with open(path, "rb") as f:
            body = f.read()
        begin = 0 if "whole" in self.path else int(self.headers.get("Range", "bytes=0-")[6:].split("-")[0])
        with open(sys.argv[2] + ".log", "a") as log:
            log.write(f"{os.path.basename(path)} {begin}\n")
        if begin >= len(body) > 0:
            self.send_response(416)
            self.send_header("Content-Length", "0")
            if "terse" not in self.path:
                self.send_header("Content-Range", f"bytes */{len(body)}")
            self.end_headers()
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        part = body[begin:]
        self.wfile.write(part[:len(part) // 2] if "cut" in self.path and first else part)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(sys.argv[2] + ".new", "w") as out:
    out.write(str(server.server_address[1]))
os.rename(sys.argv[2] + ".new", sys.argv[2])
server.serve_forever()
