'use strict';
/*
 * What the findings share: a plain store of text, a network of one address per device, and a small protobuf editor.
 * Only the peer's public API is used. Each finding exits 0 when it is reproduced and 1 when it is not.
 */
const crypto = require('node:crypto');

// Before Node 20 the peer finds no web crypto by itself.
globalThis.crypto ??= crypto.webcrypto;

// The clock moves only when a finding says so: the peer orders sessions by milliseconds.
let now = 1_700_000_000_000;
Date.now = () => now;
/** Let time pass, as it does between two messages of real people. */
const wait = () => { now += 60_000; };

// What the peer writes to the console does not reach the terminal.
for (const method of ['log', 'info', 'warn', 'error', 'debug', 'trace']) console[method] = () => {};
const say = (text) => process.stdout.write(`${text}\n`);

const signal = require('@privacyresearch/libsignal-protocol-typescript');

const whole = (bytes) => bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
const hex = (data) => Buffer.from(data).toString('hex');

/**
 * Hand the peer a web crypto whose HMACs are made at once and counted; the rest is Node's. This is the peer's public way
 * to be given one. Returns what counts.
 */
function counted() {
  const count = { calls: 0 };
  const { subtle } = crypto.webcrypto;
  signal.setWebCrypto({
    getRandomValues: (array) => crypto.webcrypto.getRandomValues(array),
    subtle: {
      importKey: async (format, key, how, ...rest) => (how.name === 'HMAC' ? Buffer.from(key) : subtle.importKey(format, key, how, ...rest)),
      async sign(_how, key, data) {
        count.calls += 1;
        return whole(crypto.createHmac('sha256', key).update(new Uint8Array(data)).digest());
      },
      encrypt: (...args) => subtle.encrypt(...args),
      decrypt: (...args) => subtle.decrypt(...args),
      digest: (...args) => subtle.digest(...args),
    },
  });
  return count;
}

/** A device with the store that a careful application would write: text at rest, one pin per name, pinned when a
 *  session is stored (which the peer does only after the message was authenticated). Its methods answer with promises,
 *  as the peer's types ask. */
class Device {
  static async make(name, { trust = 'first-use' } = {}) {
    const device = new Device();
    Object.assign(device, { name, trust, preKeys: new Map(), sessions: new Map(), pins: new Map(), asked: new Map() });
    device.identity = await signal.KeyHelper.generateIdentityKeyPair();
    device.signedPreKey = await signal.KeyHelper.generateSignedPreKey(device.identity, 1);
    return device;
  }

  get address() { return new signal.SignalProtocolAddress(this.name, 1); }
  record(peer) { return JSON.parse(this.sessions.get(`${peer.name}.1`)); }

  // The callbacks.
  async getIdentityKeyPair() { return this.identity; }
  async getLocalRegistrationId() { return 7; }
  async loadPreKey(id) { return this.preKeys.get(Number(id)); }
  async loadSignedPreKey(id) { return Number(id) === 1 ? this.signedPreKey.keyPair : undefined; }
  async removePreKey(id) { this.preKeys.delete(Number(id)); }
  async loadSession(at) { return this.sessions.get(at); }
  async storeSession(at, record) {
    this.sessions.set(at, record);
    const name = at.split('.')[0];
    if (this.asked.has(name)) this.pins.set(name, this.asked.get(name));
  }
  async isTrustedIdentity(name, key) {
    if (this.pins.has(name)) return this.pins.get(name) === hex(key);
    if (this.trust !== 'first-use') return false;
    this.asked.set(name, hex(key));
    return true;
  }
  async saveIdentity() { return false; }

  // The application.
  approve(peer, identity = peer.identity) { this.pins.set(peer.name, hex(identity.pubKey)); }
  async bundle({ oneTime = false, id = 1 } = {}) {
    const bundle = {
      registrationId: 7,
      identityKey: this.identity.pubKey,
      signedPreKey: { keyId: 1, publicKey: this.signedPreKey.keyPair.pubKey, signature: this.signedPreKey.signature },
    };
    if (oneTime) {
      const { keyPair } = await signal.KeyHelper.generatePreKey(id);
      this.preKeys.set(id, keyPair);
      bundle.preKey = { keyId: id, publicKey: keyPair.pubKey };
    }
    return bundle;
  }
  async establish(peer, bundle) {
    wait();
    this.asked.clear();
    return new signal.SessionBuilder(this, peer.address).processPreKey(await bundle);
  }
  async encrypt(peer, text) {
    wait();
    this.asked.clear();
    const { type, body } = await new signal.SessionCipher(this, peer.address).encrypt(whole(Buffer.from(text)));
    return { type, body: Buffer.from(body, 'latin1') };
  }
  async decrypt(peer, { type, body }) {
    wait();
    this.asked.clear();
    const cipher = new signal.SessionCipher(this, peer.address);
    const data = whole(body);
    return Buffer.from(await (type === 3 ? cipher.decryptPreKeyWhisperMessage(data) : cipher.decryptWhisperMessage(data))).toString();
  }
}

const devices = (...names) => Promise.all(names.map((name) => Device.make(name)));

/** Alice and Bob after one message each way. */
async function acquainted({ oneTime = false } = {}) {
  const [alice, bob] = await devices('alice', 'bob');
  await alice.establish(bob, bob.bundle({ oneTime }));
  await bob.decrypt(alice, await alice.encrypt(bob, 'hello'));
  await alice.decrypt(bob, await bob.encrypt(alice, 'hello'));
  return [alice, bob];
}

/** How a call ended: the value, or the refusal. */
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

module.exports = { Device, acquainted, counted, decode, devices, edit, encode, finding, hex, outcome, outer, say, signal, varint, wait, whole };
