package conformance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clientCode is what one language's client does with the service app through
// the outbound port SIDECAR. It prints a line for each answer, the status and
// the body; clientsWant is what all of them print. Which clients can reach a
// sidecar in which way is the guide's table and its own test's: here is what
// they can send.
var clientCode = map[string]struct {
	file, code string
	command    []string
}{
	"curl": {"client.sh", `
s=http://SIDECAR; c() { curl -sS -H 'Host: app' -w '%{http_code}\n' -o body "$@" | while read -r code; do echo "$code $(cat body)"; done; }
c $s/get
curl -sS -I -H "Host: app" -w "%{http_code}\n" -o /dev/null $s/head
c --data-binary abc $s/post
head -c 1500000 /dev/zero | c -H 'Transfer-Encoding: chunked' --data-binary @- $s/post
head -c 1500000 /dev/zero > large; c -H 'Expect: 100-continue' --data-binary @large $s/post
c -T large $s/put
c --http1.0 $s/get
curl -sS -x $s -w '%{http_code}\n' -o body http://app/get | while read -r code; do echo "$code $(cat body)"; done
`, []string{"bash"}},
	"Python http.client": {"client.py", `
import http.client
c = http.client.HTTPConnection(*"SIDECAR".split(":"), timeout=10)
def ask(method, path, body=None, **fields):
    c.request(method, path, body=body, headers={"Host": "app", **fields}, encode_chunked=True)
    a = c.getresponse()
    print(a.status, a.read().decode())
ask("GET", "/get")
ask("HEAD", "/head")
ask("POST", "/post", b"abc")
ask("POST", "/post", (bytes(100_000) for _ in range(15)), **{"Transfer-Encoding": "chunked"})
ask("POST", "/post", bytes(1_500_000))
ask("PUT", "/put", bytes(1_500_000))
ask("GET", "/get")
c.close()
c = http.client.HTTPConnection(*"SIDECAR".split(":"), timeout=10)
c.request("GET", "http://app/get")
a = c.getresponse()
print(a.status, a.read().decode())
`, []string{"python3"}},
	"Python urllib": {"client.py", `
import urllib.request
def ask(method, path, body=None, base="http://SIDECAR", **fields):
    r = urllib.request.Request(base + path, data=body, method=method, headers={"Host": "app", **fields})
    with urllib.request.urlopen(r, timeout=10) as a:
        print(a.status, a.read().decode())
ask("GET", "/get")
ask("HEAD", "/head")
ask("POST", "/post", b"abc")
ask("POST", "/post", (bytes(100_000) for _ in range(15)))
ask("POST", "/post", bytes(1_500_000))
ask("PUT", "/put", bytes(1_500_000))
ask("GET", "/get")
urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({"http": "http://SIDECAR"})))
ask("GET", "/get", base="http://app")
`, []string{"python3"}},
	"Node http": {"client.js", `
const http = require('node:http');
const [hostname, port] = 'SIDECAR'.split(':');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const ask = (method, path, pieces = [], headers = {}, agentOf = agent) => new Promise((resolve, reject) => {
  const r = http.request({ hostname, port, method, path, agent: agentOf, headers: { host: 'app', ...headers } }, (a) => {
    let body = '';
    a.on('data', (d) => { body += d; }).on('end', () => { console.log(a.statusCode, body); resolve(); });
  }).on('error', reject);
  for (const p of pieces) r.write(p);
  r.end();
});
(async () => {
  const large = Buffer.alloc(1500000);
  await ask('GET', '/get');
  await ask('HEAD', '/head');
  await ask('POST', '/post', ['abc'], { 'content-length': 3 });
  await ask('POST', '/post', Array.from({ length: 15 }, () => Buffer.alloc(100000)));
  await ask('POST', '/post', [large], { 'content-length': large.length, expect: '100-continue' });
  await ask('PUT', '/put', [large], { 'content-length': large.length });
  await ask('GET', '/get', [], { connection: 'close' }, false);
  await ask('GET', 'http://app/get');
  agent.destroy();
})();
`, []string{"node"}},
	"PHP streams": {"client.php", `<?php
function ask($method, $url, $body = null, $more = []) {
    $o = ['method' => $method, 'header' => ['Host: app', 'Content-Type: text/plain'], 'protocol_version' => 1.1, 'ignore_errors' => true] + $more;
    $o['header'][] = 'Connection: close';
    if ($body !== null) { $o['content'] = $body; }
    $answer = file_get_contents($url, false, stream_context_create(['http' => $o]));
    echo substr($http_response_header[0], 9, 3), ' ', $answer, "\n";
}
$s = 'http://SIDECAR'; $large = str_repeat("\0", 1500000);
ask('GET', "$s/get");
ask('HEAD', "$s/head");
ask('POST', "$s/post", 'abc');
ask('POST', "$s/post", $large);
ask('POST', "$s/post", $large);
ask('PUT', "$s/put", $large);
ask('GET', "$s/get", null, ['protocol_version' => 1.0]);
ask('GET', 'http://app/get', null, ['proxy' => 'tcp://SIDECAR', 'request_fulluri' => true]);
`, []string{"php"}},
	"PHP curl": {"client.php", `<?php
$c = curl_init();
function ask($method, $url, $more = []) {
    global $c;
    curl_reset($c);
    curl_setopt_array($c, [CURLOPT_URL => $url, CURLOPT_CUSTOMREQUEST => $method, CURLOPT_HTTPHEADER => ['Host: app'], CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 10]);
    curl_setopt_array($c, $more);
    $answer = curl_exec($c);
    echo curl_getinfo($c, CURLINFO_RESPONSE_CODE), ' ', $answer, "\n";
}
$s = 'http://SIDECAR'; $large = str_repeat("\0", 1500000);
$f = fopen('php://memory', 'r+'); fwrite($f, $large); rewind($f);
ask('GET', "$s/get");
ask('HEAD', "$s/head", [CURLOPT_NOBODY => true]);
ask('POST', "$s/post", [CURLOPT_POSTFIELDS => 'abc']);
ask('POST', "$s/post", [CURLOPT_UPLOAD => true, CURLOPT_INFILE => $f, CURLOPT_HTTPHEADER => ['Host: app', 'Transfer-Encoding: chunked']]);
ask('POST', "$s/post", [CURLOPT_POSTFIELDS => $large]);
ask('PUT', "$s/put", [CURLOPT_POSTFIELDS => $large]);
ask('GET', "$s/get", [CURLOPT_HTTP_VERSION => CURL_HTTP_VERSION_1_0]);
ask('GET', 'http://app/get', [CURLOPT_PROXY => 'SIDECAR']);
`, []string{"php"}},
}

const clientsWant = `200 GET app 0
200
200 POST app 3
200 POST app 1500000
200 POST app 1500000
200 PUT app 1500000
200 GET app 0
200 GET app 0
`

// TestClientsOfOtherLanguages: GET, HEAD, small and large bodies with a length
// and in chunks, Expect, kept connections, HTTP/1.0 and proxy requests by the
// clients that apps use.
func TestClientsOfOtherLanguages(t *testing.T) {
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s %d", r.Method, r.Host, n)
	}))
	app.Start()
	t.Cleanup(app.Close)
	for name, c := range clientCode {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(c.command[0]); err != nil {
				t.Fatalf("internal/testenv/install.sh installs %s: %v", c.command[0], err)
			}
			dir := t.TempDir()
			code := strings.ReplaceAll(c.code, "SIDECAR", startOutbound(t, app.Listener.Addr().String()).address())
			if err := os.WriteFile(filepath.Join(dir, c.file), []byte(code), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, c.command[0], append(c.command[1:], c.file)...)
			cmd.Dir = dir
			for _, v := range os.Environ() {
				if !strings.Contains(strings.ToLower(v), "proxy") {
					cmd.Env = append(cmd.Env, v)
				}
			}
			out, err := cmd.CombinedOutput()
			var got strings.Builder
			for line := range strings.Lines(string(out)) {
				if line = strings.TrimSpace(line); line != "" {
					got.WriteString(line + "\n")
				}
			}
			if err != nil || got.String() != clientsWant {
				t.Errorf("%v, printed:\n%s\nwant:\n%s", err, got.String(), clientsWant)
			}
		})
	}
}
