// What client and server have in common.
'use strict';
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const definition = loader.loadSync(path.join(__dirname, 'peer.proto'), { defaults: true });
module.exports = { grpc, Peer: grpc.loadPackageDefinition(definition).conformance.Peer };
