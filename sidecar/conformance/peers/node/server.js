// A gRPC server by grpc-js. It prints its address once it listens.
'use strict';
const { grpc, Peer } = require('./peer');

let cancelled = 0; // calls that the client has given up

// answer is what an Ask gets; trailers and header echo the metadata.
const answer = (ask) => ({ text: ask.text, payload: Buffer.alloc(ask.size, 'x') });

const echo = (call) => {
  const head = new grpc.Metadata(), trailer = new grpc.Metadata();
  for (const name of ['x-one', 'x-many', 'x-raw-bin']) {
    for (const value of call.metadata.get(name)) {
      head.add(name, value);
      trailer.add(name.replace('x-', 'x-end-'), value);
    }
  }
  head.set('x-authority', call.getHost());
  call.sendMetadata(head);
  return trailer;
};

const failure = (ask, trailer) => ({ code: ask.failCode, details: ask.failMessage, metadata: trailer });
const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

// room is there when a call takes more, or has ended.
const room = (call) => new Promise((resolve) => {
  const go = () => {
    call.off('drain', go).off('cancelled', go);
    resolve();
  };
  call.on('drain', go).on('cancelled', go);
});

// watch counts a call that ends before the server is through with it. The event
// comes at any end.
const watch = (call) => {
  const state = { through: false };
  call.on('cancelled', () => { if (!state.through) cancelled += 1; });
  return state;
};

const server = new grpc.Server();
server.addService(Peer.service, {
  async unary(call, done) {
    const state = watch(call), ask = call.request, trailer = echo(call);
    if (ask.waitMs) await wait(ask.waitMs);
    state.through = true;
    if (ask.text === 'how many were cancelled?') return done(null, { text: String(cancelled) });
    if (ask.failCode) return done(failure(ask, trailer));
    done(null, { ...answer(ask), text: `${ask.text} ${ask.payload.length}` }, trailer);
  },
  async down(call) {
    const state = watch(call), ask = call.request, trailer = echo(call);
    for (let i = 0; i < ask.answers && !call.cancelled; i += 1) {
      if (ask.waitMs) await wait(ask.waitMs);
      if (!call.write(answer(ask))) await room(call);
    }
    state.through = true;
    if (ask.failCode) call.emit('error', failure(ask, trailer));
    else call.end(trailer);
  },
  up(call, done) {
    let n = 0, bytes = 0;
    const trailer = echo(call);
    call.on('data', (ask) => { n += 1; bytes += ask.payload.length; });
    call.on('end', () => done(null, { text: `${n} messages, ${bytes} bytes` }, trailer));
  },
  both(call) {
    const trailer = echo(call);
    call.on('data', (ask) => { call.write(answer(ask)); });
    call.on('end', () => call.end(trailer));
  },
});
server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (err, port) => {
  if (err) throw err;
  console.log(`127.0.0.1:${port}`);
});
