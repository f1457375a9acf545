// A gRPC client by grpc-js: node client.js ADDRESS AUTHORITY [CA-FILE]. It prints what
// it sees, a line for each thing.
'use strict';
const fs = require('node:fs');
const { grpc, Peer } = require('./peer');

const [address, authority, ca] = process.argv.slice(2);
const creds = ca ? grpc.credentials.createSsl(fs.readFileSync(ca)) : grpc.credentials.createInsecure();
const options = { 'grpc.default_authority': authority, 'grpc.ssl_target_name_override': authority };
const client = new Peer(address, creds, options);

const soon = () => ({ deadline: Date.now() + 20000 });
const failed = (err) => `${err.code} ${grpc.status[err.code]} ${JSON.stringify(err.details)}`;
const shown = (metadata) => ['x-one', 'x-many', 'x-raw-bin', 'x-authority', 'x-end-one', 'x-end-many', 'x-end-raw-bin']
  .filter((name) => metadata.get(name).length > 0)
  .map((name) => `${name}=${metadata.get(name).map((v) => (Buffer.isBuffer(v) ? v.toString('hex') : v)).join('+')}`).join(' ');

// ended are the lines of a call: its answers and how it ended.
const ended = (call, onData = () => {}) => new Promise((resolve) => {
  const seen = { answers: 0, bytes: 0, head: '', trailer: '' };
  call.on('metadata', (m) => { seen.head = shown(m); });
  call.on('data', (a) => { seen.answers += 1; seen.bytes += a.payload.length; onData(seen, a); });
  call.on('error', (err) => { seen.error = failed(err); });
  call.on('status', (s) => { seen.trailer = shown(s.metadata); resolve({ ...seen, code: s.code }); });
});

const unary = (ask, metadata = new grpc.Metadata(), opts = soon(), from = client) => new Promise((resolve) => {
  const seen = {};
  const call = from.unary(ask, metadata, opts, (err, a) => { seen.answer = err ? failed(err) : `${a.text}, ${a.payload.length}`; });
  call.on('metadata', (m) => { seen.head = shown(m); });
  call.on('status', (s) => { seen.trailer = shown(s.metadata); setImmediate(() => resolve(seen)); });
});

const tests = {
  async unary() { return (await unary({ text: 'hello', payload: Buffer.alloc(10), size: 20 })).answer; },
  async empty() { return (await unary({})).answer; },
  async large() { return (await unary({ text: 'large', payload: Buffer.alloc(3000000), size: 3000000 })).answer; },
  async metadata() {
    const m = new grpc.Metadata();
    m.set('x-one', 'a b, c');
    for (const v of ['1', '2', '3']) m.add('x-many', v);
    m.set('x-raw-bin', Buffer.from([0, 255, 10, 13]));
    const seen = await unary({}, m);
    return `${seen.head} | ${seen.trailer}`;
  },
  async 'much metadata'() {
    const m = new grpc.Metadata();
    m.set('x-one', 'm'.repeat(12000));
    const seen = await unary({}, m);
    return `${seen.head.length} | ${seen.trailer.length}`;
  },
  async 'error status'() { return (await unary({ failCode: 9, failMessage: 'not so: ü, 中文 and 100%\n' })).answer; },
  async 'error status with trailers'() {
    const m = new grpc.Metadata();
    m.set('x-one', '1');
    const seen = await unary({ failCode: 5, failMessage: 'gone' }, m);
    return `${seen.answer} | ${seen.head} | ${seen.trailer}`;
  },
  async 'unknown method'() {
    return new Promise((resolve) => {
      const id = (x) => x;
      client.makeUnaryRequest('/conformance.Peer/None', id, id, Buffer.alloc(0), new grpc.Metadata(), soon(), (err) => resolve(err ? grpc.status[err.code] : 'answered'));
    });
  },
  async 'server stream'() {
    const seen = await ended(client.down({ answers: 500, size: 10000 }, soon()));
    return `${seen.answers} answers, ${seen.bytes} bytes, ${seen.code}`;
  },
  async 'server stream that fails'() {
    const seen = await ended(client.down({ answers: 3, size: 1, failCode: 10, failMessage: 'amid' }, soon()));
    return `${seen.answers} answers, ${seen.error}`;
  },
  async 'client stream'() {
    return new Promise((resolve, reject) => {
      const call = client.up(soon(), (err, a) => (err ? reject(err) : resolve(a.text)));
      (async () => {
        for (let i = 0; i < 500; i += 1) {
          if (!call.write({ payload: Buffer.alloc(10000) })) await new Promise((drained) => { call.once('drain', drained); });
        }
        call.end();
      })();
    });
  },
  // Each message is sent when the answer to the one before has come: nothing
  // between may hold a message back.
  async 'both ways, in turns'() {
    const call = client.both(soon());
    let n = 0;
    call.write({ text: '0', size: 1 });
    const seen = await ended(call, () => {
      n += 1;
      if (n < 200) call.write({ text: String(n), size: n * 10 });
      else call.end();
    });
    return `${seen.answers} answers, ${seen.bytes} bytes, ${seen.code}`;
  },
  async 'both ways, at once'() {
    const all = await Promise.all(Array.from({ length: 50 }, () => {
      const call = client.both(soon());
      for (let i = 0; i < 50; i += 1) call.write({ payload: Buffer.alloc(2000), size: 3000 });
      call.end();
      return ended(call);
    }));
    return `${all.reduce((n, s) => n + s.answers, 0)} answers, ${all.reduce((n, s) => n + s.bytes, 0)} bytes, ${new Set(all.map((s) => s.code)).size === 1 && all[0].code}`;
  },
  async 'many at once'() {
    const all = await Promise.all(Array.from({ length: 500 }, (_, i) => unary({ text: `m${i}`, size: 100 })));
    return `${all.filter((s, i) => s.answer === `m${i} 0, 100`).length} right`;
  },
  async deadline() { return (await unary({ waitMs: 10000 }, new grpc.Metadata(), { deadline: Date.now() + 300 })).answer.replace(/ ".*/, ''); },
  async 'cancelled by the client'() {
    const call = client.down({ answers: 1000, size: 10, waitMs: 20 }, soon());
    const seen = await ended(call, (s) => { if (s.answers === 2) call.cancel(); });
    return seen.error;
  },
  // The server has to hear of both.
  async 'the server knows'() {
    let answer;
    for (const end = Date.now() + 10000; Date.now() < end;) {
      ({ answer } = await unary({ text: 'how many were cancelled?' }));
      if (answer === '2, 0') break;
      await new Promise((resolve) => { setTimeout(resolve, 20); });
    }
    return answer;
  },
  async compressed() {
    const other = new Peer(address, creds, { ...options, 'grpc.default_compression_algorithm': 2 });
    const seen = await unary({ text: 'compressed', payload: Buffer.alloc(100000), size: 5 }, new grpc.Metadata(), soon(), other);
    other.close();
    return seen.answer;
  },
  async 'kept alive by pings'() {
    const other = new Peer(address, creds, { ...options, 'grpc.keepalive_time_ms': 200, 'grpc.keepalive_timeout_ms': 5000 });
    const seen = await unary({ text: 'alive', waitMs: 1100 }, new grpc.Metadata(), soon(), other);
    other.close();
    return seen.answer;
  },
};

(async () => {
  for (const [name, run] of Object.entries(tests)) console.log(`${name}: ${await run()}`);
  client.close();
})().catch((err) => {
  console.error(err);
  process.exitCode = 1;
});
