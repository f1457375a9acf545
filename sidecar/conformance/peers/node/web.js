// Calls by gRPC-Web, through a sidecar that translates them: `web.js ADDRESS
// SERVICE`. What it prints is the test's to compare.
'use strict';
const http = require('node:http');
const net = require('node:net');
const XMLHttpRequest = require('xhr2');
const { GrpcWebClientBase, MethodDescriptor, MethodType } = require('grpc-web');
const { Peer } = require('./peer');

const [address, service] = process.argv.slice(2);
const [host, port] = address.split(':');

// A browser's connection to the sidecar, whatever the name in the URL.
const agent = new http.Agent({ keepAlive: true });
agent.createConnection = () => net.connect(Number(port), host);
XMLHttpRequest.nodejsSet({ httpAgent: agent });
global.XMLHttpRequest = XMLHttpRequest;

class Message {
  constructor(fields) { Object.assign(this, fields); }
}

const method = (of, type) => new MethodDescriptor(
  of.path, type, Message, Message,
  (ask) => new Uint8Array(of.requestSerialize(ask)), (bytes) => of.responseDeserialize(Buffer.from(bytes)),
);
const unary = method(Peer.service.Unary, MethodType.UNARY);
const down = method(Peer.service.Down, MethodType.SERVER_STREAMING);

const url = (of) => `http://${service}${of.name}`;
const said = (err) => `${err.code} ${JSON.stringify(err.message)}`;

const call = (client, ask, metadata = {}) => new Promise((resolve) => {
  let head = {};
  client.rpcCall(url(unary), new Message(ask), metadata, unary, (err, answer) => {
    setImmediate(() => resolve(err ? said(err) : `${answer.text}, ${answer.payload.length} bytes, ${head['x-one']}`));
  }).on('metadata', (m) => { head = m; });
});

const stream = (client, ask) => new Promise((resolve) => {
  let n = 0, bytes = 0;
  client.serverStreaming(url(down), new Message(ask), {}, down)
    .on('data', (answer) => { n += 1; bytes += answer.payload.length; })
    .on('error', (err) => resolve(`${n} answers, ${said(err)}`))
    .on('end', () => resolve(`${n} answers, ${bytes} bytes`));
});

(async () => {
  for (const format of ['text', 'binary']) {
    const client = new GrpcWebClientBase({ format });
    const say = (what, got) => console.log(`${format}, ${what}: ${got}`);
    say('unary', await call(client, { text: 'hello', payload: Buffer.alloc(10), size: 20 }, { 'x-one': 'a b' }));
    say('large', await call(client, { text: 'large', payload: Buffer.alloc(1000000, 'ü'), size: 1000001 }));
    say('status', await call(client, { failCode: 9, failMessage: 'not so: ü, 中文 and 100%' }));
    say('deadline', await call(client, {}, { 'grpc-timeout': '1n' }));
    say('nothing', await call(client, {}));
    if (format === 'text') { // the client streams in the text form alone
      say('stream', await stream(client, { answers: 500, size: 1001 }));
      say('stream that fails', await stream(client, { answers: 3, failCode: 10, failMessage: 'amid' }));
    }
  }
  agent.destroy();
})();
