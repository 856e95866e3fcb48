'use strict';
/*
 * What the findings share: a plain store of text, and a network of one address per device. Only the peer's public API is
 * used.
 */
const crypto = require('node:crypto');
const shared = require('../../findings_in_node');
const { encode, fields } = require('../../protobuf_in_node');

// Before Node 20 the peer finds no web crypto by itself.
globalThis.crypto ??= crypto.webcrypto;

const wait = shared.stopClock();
shared.hush();

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
  return shared.acquaint([alice, bob], bob.bundle({ oneTime }));
}

module.exports = { ...shared, Device, acquainted, counted, decode: fields, devices, encode, hex, signal, wait, whole };
