#!/bin/bash
# Chromium (138.0.7204; Debian's 156.0.8078.108 does the same) keeps a range that a page has fetched. If the page then wants a longer range of the same
# URL, and the file and its ETag have changed meanwhile, as those of a log that grows do, Chromium asks for the old range only, to see whether it
# holds, and gives the page the server's answer to that: 206, the new ETag, and fewer bytes than the page asked for, with no error.
# The page has to look at Content-Range, or to fetch with cache: "no-store".
. "${0%/*}/lib.sh"
npm pack --silent @sparticuz/chromium@138.0.2 >said 2>&1 || changed "npm has no such package: $(tail -n 1 said)"
tar -xzf sparticuz-chromium-138.0.2.tgz
for name in chromium al2023.tar; do
	node -e 'const [, from, to] = process.argv; require("fs").writeFileSync(to, require("zlib").brotliDecompressSync(require("fs").readFileSync(from)))' \
		"package/bin/$name.br" "$name"
done
tar -xf al2023.tar
chmod +x chromium
export LD_LIBRARY_PATH=$tmp/lib
echo "npm: @sparticuz/chromium 138.0.2: $(./chromium --version)"

cat >server.py <<'PYTHON'
import http.server, re, urllib.parse
PAGE = b"""<!doctype html><title>A page</title><script>
(async () => {
  const said = [];
  for (const [range, cache] of [["0-99", "default"], ["0-999", "default"], ["0-999", "no-store"]]) {
    const answer = await fetch("/log", { cache, headers: { range: "bytes=" + range } });
    const bytes = (await answer.arrayBuffer()).byteLength;
    said.push(`${cache} ${range}: ${answer.status} ${answer.headers.get("etag")} ${bytes}`);
  }
  await fetch("/said?" + encodeURIComponent(said.join("\\n")));
})();
</script>"""
sizes, asked = [100, 1000, 1000], []

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(body)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/":
            return self.answer(200, {"Content-Type": "text/html"}, PAGE)
        if self.path.startswith("/said?"):
            with open("seen", "w") as file:
                file.write(urllib.parse.unquote(self.path[6:]) + "\n" + "\n".join(asked) + "\n")
            return self.answer(200, {}, b"")
        if self.path != "/log":
            return self.answer(404, {}, b"")
        # A log that grows between the first request and the second.
        size = sizes[min(len(asked), 2)]
        first, last = map(int, re.match(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())
        last = min(last, size - 1)
        asked.append(f"asked of the server: {self.headers['Range']}")
        headers = {"ETag": f'"{size}"', "Cache-Control": "private, no-cache", "Accept-Ranges": "bytes",
                   "Content-Type": "text/plain", "Content-Range": f"bytes {first}-{last}/{size}"}
        self.answer(206, headers, (b"0123456789" * 100)[first:last + 1])

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open("port", "w") as file:
    file.write(str(server.server_port))
server.serve_forever()
PYTHON
python3 server.py &
server=$!
browser=
trap 'kill $server $browser 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT
until [[ -s port ]]; do sleep 0.1; done
./chromium --headless --no-sandbox --disable-gpu --no-zygote --user-data-dir="$tmp/profile" "http://127.0.0.1:$(cat port)/" >said 2>&1 &
browser=$!
for _ in {1..600}; do
	[[ ! -s seen ]] || break
	sleep 0.1
done
[[ -s seen ]] || changed "the page says nothing: $(tail -n 1 said)"
cat seen
[[ $(sed -n 1p seen) = 'default 0-99: 206 "100" 100' ]] || changed "the first range is another"
[[ $(sed -n 2p seen) = 'default 0-999: 206 "1000" 100' ]] || changed "the second range is another"
[[ $(sed -n 3p seen) = 'no-store 0-999: 206 "1000" 1000' ]] || changed "the third range is another"
[[ $(sed -n 5p seen) = 'asked of the server: bytes=0-99' ]] || changed "the server was asked for another range"
seen "of bytes 0-999 the page gets 100, with the ETag of 1000 bytes; with no-store all"
