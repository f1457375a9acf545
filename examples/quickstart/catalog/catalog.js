// The quickstart's Node.js service, on the standard library alone.
//
// It knows nothing of the mesh: it listens on a loopback port, and the sidecar
// beside it watches its /healthz and registers it.
//
//     LISTEN=127.0.0.1:9201 INSTANCE=catalog-1 node catalog.js
'use strict';

const http = require('node:http');

const instance = process.env.INSTANCE || 'catalog-1';
const listen = process.env.LISTEN || '127.0.0.1:9201';

let requests = 0; // served; health checks and statistics are not counted

function answer(res, status, value) {
  const body = JSON.stringify(value) + '\n';
  res.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) });
  res.end(body);
}

const server = http.createServer((req, res) => {
  req.resume(); // a body is not looked at
  const path = req.url.split('?')[0];
  if (req.method === 'GET' && path === '/healthz') {
    answer(res, 200, { status: 'ok' });
  } else if (req.method === 'GET' && path === '/stats') {
    answer(res, 200, { instance, requests });
  } else if (req.method === 'GET' && path.startsWith('/items/') && path.length > '/items/'.length) {
    requests++;
    const id = path.slice('/items/'.length);
    answer(res, 200, { id, title: 'item ' + id, instance, request_id: req.headers['x-request-id'] || '' });
  } else {
    answer(res, 404, { error: 'there is GET /items/<id>', reason: 'not_found' });
  }
});

server.keepAliveTimeout = 120000; // milliseconds; the default of 5 s breaks many kept connections

process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});

const colon = listen.lastIndexOf(':');
server.listen(Number(listen.slice(colon + 1)), listen.slice(0, colon));
