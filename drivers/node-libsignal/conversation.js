'use strict';
/*
 * Two devices of the peer that do as they are told, one JSON line each: for tests of the import.
 *   {"do": "establish" | "encrypt" | "decrypt" | "bundle" | "export", "who": name, "with": name, ...}
 */

const readline = require('node:readline');
const { Device, say } = require('./findings/lib.js');
const { exported } = require('./export.js');

const devices = Object.fromEntries(['alice', 'bob', 'carol'].map((name) => [name, new Device(name)]));

async function step({ do: what, who, with: other, text, message, oneTime }) {
  const [device, peer] = [devices[who], devices[other]];
  switch (what) {
    case 'establish': return device.establish(peer, peer.bundle({ oneTime }));
    case 'encrypt': {
      const { type, body } = await device.encrypt(peer, text);
      return { type, body: Buffer.from(body, 'binary').toString('base64') };
    }
    case 'decrypt': return device.decrypt(peer, { type: message.type, body: Buffer.from(message.body, 'base64') });
    case 'export': {
      device.bundle({ oneTime: true, id: 77 });
      return exported({
        identity: device.identity,
        registrationId: device.getOurRegistrationId(),
        sessions: [...device.sessions].map(([at, record]) => [at, JSON.parse(record)]),
        preKeys: device.preKeys,
        signedPreKeys: [[1, device.signedPreKey]].map(([id, { keyPair, signature }]) => [id, { keyPair, signature }]),
        identities: [...device.pins].map(([name, hex]) => [name, Buffer.from(hex, 'hex')]),
      });
    }
    case 'identity': return device.identity.pubKey.toString('base64');
    default: throw new Error(`no such step: ${what}`);
  }
}

let last = Promise.resolve();
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  last = last.then(() => step(JSON.parse(line))).then(
    (result) => say(JSON.stringify({ result: result ?? null })),
    (error) => say(JSON.stringify({ error: `${error.name}: ${error.message}` })),
  );
});
