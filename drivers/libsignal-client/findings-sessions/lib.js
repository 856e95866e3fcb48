'use strict';
/*
 * What the findings on sessions share: two devices whose stores hold a session of version 3 with each other, written in
 * the peer's stored form; everything after that is the peer's. Only its public API is used.
 */
const crypto = require('node:crypto');
const shared = require('../../findings_in_node');
const { encode } = require('../../protobuf_in_node');

// -- the application ---------------------------------------------------------------------------------------------------

const derive = (secret, salt, label) => {
  const bytes = Buffer.from(crypto.hkdfSync('sha256', secret, salt, label, 64));
  return [bytes.subarray(0, 32), bytes.subarray(32)];
};
const chain = (key, value, own) => encode([[1, key], [2, own], [3, encode([[1, 0], [2, value]])]]);

function made(signal) {
  const bytes = (key) => Buffer.from(key.serialize());
  const open = (key) => bytes(key.getPublicKey());

  class Sessions extends signal.SessionStore {
    held = new Map();
    async saveSession(address, record) { this.held.set(address.toString(), record.serialize()); }
    async getSession(address) {
      const record = this.held.get(address.toString());
      return record === undefined ? null : signal.SessionRecord.deserialize(record);
    }
  }

  /** The application trusts whom it says it trusts: `trusted` is a key, or null for everybody. */
  class Identities extends signal.IdentityKeyStore {
    trusted = null;
    constructor(identity) { super(); this.identity = identity; }
    async getIdentityKey() { return this.identity; }
    async getLocalRegistrationId() { return 7; }
    async saveIdentity() { return signal.IdentityChange.NewOrUnchanged; }
    async isTrustedIdentity(_address, key) { return this.trusted === null || bytes(key).equals(bytes(this.trusted)); }
    async getIdentity() { return null; }
  }

  class Device {
    constructor(name) {
      this.identity = signal.PrivateKey.generate();
      this.address = signal.ProtocolAddress.new(name, 1);
      this.sessions = new Sessions();
      this.identities = new Identities(this.identity);
    }

    async send(to, text) {
      const message = await signal.signalEncrypt(Buffer.from(text), to.address, this.address, this.sessions, this.identities);
      return { prekey: message.type() === signal.CiphertextMessageType.PreKey, data: Buffer.from(message.serialize()) };
    }

    async read(from, { prekey, data }) {
      const none = new (class extends signal.PreKeyStore {})();
      const stores = [from.address, this.address, this.sessions, this.identities];
      const plaintext = prekey
        ? await signal.signalDecryptPreKey(signal.PreKeySignalMessage.deserialize(data), ...stores, none, none, none)
        : await signal.signalDecrypt(signal.SignalMessage.deserialize(data), ...stores);
      return Buffer.from(plaintext).toString();
    }
  }

  /** Alice and Bob, each with a session of version 3 in the store: Alice began it, and nothing was said yet. */
  function pair() {
    const [alice, bob] = [new Device('alice'), new Device('bob')];
    const [base, ratchet, signed] = [1, 2, 3].map(() => signal.PrivateKey.generate());
    const agreed = [[alice.identity, signed], [base, bob.identity], [base, signed]].map(([own, key]) => Buffer.from(own.agree(key.getPublicKey())));
    const [first, theirs] = derive(Buffer.concat([Buffer.alloc(32, 255), ...agreed]), Buffer.alloc(32), 'WhisperText');
    const [root, ours] = derive(Buffer.from(ratchet.agree(signed.getPublicKey())), first, 'WhisperRatchet');
    const session = (local, remote, rootKey, rest) => encode([[1, encode([
      [1, 3], [2, open(local.identity)], [3, open(remote.identity)], [4, rootKey], [5, 0], ...rest, [10, 7], [11, 7], [13, open(base)]])]]);
    const pending = encode([[2, open(base)], [3, 1], [4, Math.floor(Date.now() / 1000)]]);
    alice.sessions.held.set('bob.1', session(alice, bob, root, [
      [6, chain(open(ratchet), ours, bytes(ratchet))], [7, chain(open(signed), theirs)], [9, pending]]));
    bob.sessions.held.set('alice.1', session(bob, alice, first, [[6, chain(open(signed), theirs, bytes(signed))]]));
    return [alice, bob];
  }

  /** The same after one message each way. */
  async function acquainted() {
    const [alice, bob] = pair();
    await bob.read(alice, await alice.send(bob, 'hello'));
    await alice.read(bob, await bob.send(alice, 'hello'));
    return [alice, bob];
  }
  return { Device, pair, acquainted };
}

/** Run a finding; `find` is given the peer too, an ES module. */
function finding(id, title, find) {
  shared.finding(id, title, async () => {
    const signal = await import('@signalapp/libsignal-client');
    return find({ signal, ...made(signal) });
  });
}

module.exports = { ...shared, encode, finding };
