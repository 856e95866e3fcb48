'use strict';
/*
 * What the findings share: a plain serialising store, and a network of one address per device. Only the peer's public API
 * is used.
 */
const { format } = require('node:util');
const shared = require('../../findings_in_node');
const { encode, fields } = require('../../protobuf_in_node');

const wait = shared.stopClock();

/** What the peer wrote to the console, for the finding about that; nothing of it reaches the terminal. */
const logged = [];
shared.hush((...args) => { logged.push(format(...args)); });

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
function acquainted({ oneTime = false } = {}) {
  const [alice, bob] = [new Device('alice'), new Device('bob')];
  return shared.acquaint([alice, bob], bob.bundle({ oneTime }));
}

module.exports = { ...shared, Device, acquainted, decode: fields, encode, libsignal, logged, wait };
