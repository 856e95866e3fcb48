'use strict';
/*
 * What the findings share: a plain serialising store, a network of one address per device, and a small protobuf editor.
 * Only the peer's public API is used. Each finding exits 0 when it is reproduced and 1 when it is not.
 */

// The clock moves only when a finding says so: the peer orders sessions by milliseconds.
let now = 1_700_000_000_000;
Date.now = () => now;
/** Let time pass, as it does between two messages of real people. */
const wait = () => { now += 60_000; };

/** What the peer wrote to the console, for the finding about that; nothing of it reaches the terminal. */
const logged = [];
for (const method of ['log', 'info', 'warn', 'error', 'debug', 'trace']) {
  console[method] = (...args) => { logged.push(require('node:util').format(...args)); };
}
const say = (text) => process.stdout.write(`${text}\n`);

const libsignal = require('libsignal');

/** A device with the store that a careful application would write: text at rest, one pin per name, pinned when a
 *  session is stored (which the peer does only after the message was authenticated). */
class Device {
  constructor(name, { trust = 'first-use' } = {}) {
    Object.assign(this, { name, trust });
    this.install();
  }

  install() {
    this.identity = libsignal.keyhelper.generateIdentityKeyPair();
    this.signedPreKey = libsignal.keyhelper.generateSignedPreKey(this.identity, 1);
    this.preKeys = new Map();
    this.sessions = new Map();
    this.pins = new Map();
    this.asked = new Map();
    this.calls = [];
  }

  get address() { return new libsignal.ProtocolAddress(this.name, 1); }
  get text() { return JSON.stringify([...this.sessions, ...this.pins, ...[...this.preKeys.keys()].map(String)]); }
  record(peer) { return JSON.parse(this.sessions.get(`${peer.name}.1`)); }

  // The callbacks.
  getOurIdentity() { return this.identity; }
  getOurRegistrationId() { return 7; }
  async loadPreKey(id) { this.calls.push(`loadPreKey(${id})`); return this.preKeys.get(id); }
  async loadSignedPreKey(id) { return id === 1 ? this.signedPreKey.keyPair : undefined; }
  async removePreKey(id) { this.calls.push(`removePreKey(${id})`); this.preKeys.delete(id); }
  async loadSession(at) {
    const text = this.sessions.get(at);
    return text && libsignal.SessionRecord.deserialize(JSON.parse(text));
  }
  async storeSession(at, record) {
    this.calls.push(`storeSession(${at})`);
    this.sessions.set(at, JSON.stringify(record.serialize()));
    const name = at.split('.')[0];
    if (this.asked.has(name)) this.pins.set(name, this.asked.get(name));
  }
  isTrustedIdentity(identifier, key, ...rest) {
    this.calls.push(`isTrustedIdentity(${[identifier, ...rest].join(', ')})`);
    const name = identifier.split('.')[0];
    const hex = Buffer.from(key).toString('hex');
    if (this.pins.has(name)) return this.pins.get(name) === hex;
    this.asked.set(name, hex);
    return this.trust === 'first-use';
  }

  // The application.
  approve(peer, identity = peer.identity) { this.pins.set(peer.name, identity.pubKey.toString('hex')); }
  bundle({ oneTime = false, id = 1 } = {}) {
    const bundle = {
      registrationId: 7,
      identityKey: this.identity.pubKey,
      signedPreKey: { keyId: 1, publicKey: this.signedPreKey.keyPair.pubKey, signature: this.signedPreKey.signature },
    };
    if (oneTime) {
      const { keyPair } = libsignal.keyhelper.generatePreKey(id);
      this.preKeys.set(id, keyPair);
      bundle.preKey = { keyId: id, publicKey: keyPair.pubKey };
    }
    return bundle;
  }
  establish(peer, bundle) {
    wait();
    this.asked.clear();
    return new libsignal.SessionBuilder(this, peer.address).initOutgoing(bundle);
  }
  async encrypt(peer, text) {
    wait();
    this.asked.clear();
    return new libsignal.SessionCipher(this, peer.address).encrypt(Buffer.from(text));
  }
  async decrypt(peer, { type, body }) {
    wait();
    this.asked.clear();
    const cipher = new libsignal.SessionCipher(this, peer.address);
    return (await (type === 3 ? cipher.decryptPreKeyWhisperMessage(body) : cipher.decryptWhisperMessage(body))).toString();
  }
}

/** Alice and Bob after one message each way. */
async function acquainted({ oneTime = false } = {}) {
  const [alice, bob] = [new Device('alice'), new Device('bob')];
  await alice.establish(bob, bob.bundle({ oneTime }));
  await bob.decrypt(alice, await alice.encrypt(bob, 'hello'));
  await alice.decrypt(bob, await bob.encrypt(alice, 'hello'));
  return [alice, bob];
}

/** How a call ended: "ok: plaintext" or the refusal. */
async function outcome(promise) {
  try {
    return { ok: true, value: await promise };
  } catch (error) {
    return { ok: false, error, text: `${error.name}: ${error.message}` };
  }
}

// -- protobuf, as far as these messages need it -----------------------------------------------------------------------

function varint(value) {
  const out = [];
  for (; value > 127; value = Math.floor(value / 128)) out.push((value % 128) | 128);
  return Buffer.from([...out, value]);
}
const field = (number, value) =>
  typeof value === 'number'
    ? Buffer.concat([varint(number << 3), varint(value)])
    : Buffer.concat([varint((number << 3) | 2), varint(value.length), value]);
const encode = (fields) => Buffer.concat(fields.map(([number, value]) => field(number, value)));

/** Fields of a protobuf in the order received: [number, number | Buffer]. */
function decode(data) {
  const fields = [];
  let at = 0;
  const number = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = data[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < data.length) {
    const tag = number();
    if ((tag & 7) === 0) fields.push([tag >>> 3, number()]);
    else {
      const length = number();
      fields.push([tag >>> 3, data.subarray(at, at += length)]);
    }
  }
  return fields;
}

const PREKEY = { preKeyId: 1, baseKey: 2, identityKey: 3, message: 4, registrationId: 5, signedPreKeyId: 6 };

/** A prekey message with some outer fields changed; nobody's key is needed for that. */
function edit({ body }, changes) {
  const fields = decode(body.subarray(1)).map(([number, value]) => {
    const name = Object.keys(PREKEY).find((key) => PREKEY[key] === number);
    return [number, name in changes ? changes[name] : value];
  });
  return { type: 3, body: Buffer.concat([body.subarray(0, 1), encode(fields)]) };
}
/** An outer field of a prekey message. */
const outer = ({ body }, name) => decode(body.subarray(1)).find(([number]) => number === PREKEY[name])?.[1];

/** Run a finding: `body` returns what was seen, a list of [statement, boolean]; all true means reproduced. */
function finding(id, title, body) {
  body().then(
    (seen) => {
      say(`${id} · ${title}`);
      for (const [statement, held] of seen) say(`  ${held ? 'seen    ' : 'NOT SEEN'} ${statement}`);
      const reproduced = seen.length > 0 && seen.every(([, held]) => held === true);
      say(reproduced ? '  reproduced' : '  not reproduced');
      process.exitCode = reproduced ? 0 : 1;
    },
    (error) => {
      say(`${id} · ${title}\n  not reproduced: ${error.stack}`);
      process.exitCode = 1;
    },
  );
}

module.exports = { Device, acquainted, decode, edit, encode, finding, libsignal, logged, outcome, outer, say, varint, wait };
