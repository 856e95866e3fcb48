'use strict';
/*
 * What the findings on sessions share: two devices whose stores hold a session of version 3 with each other, written in
 * the peer's stored form; everything after that is the peer's. Only its public API is used. Each finding exits 0 when it
 * is reproduced and 1 when it is not.
 */
const crypto = require('node:crypto');

const say = (text) => process.stdout.write(`${text}\n`);

// -- bytes -------------------------------------------------------------------------------------------------------------

function varint(number) {
  const out = [];
  for (; number > 127; number = Math.floor(number / 128)) out.push((number % 128) | 128);
  return Buffer.from([...out, number]);
}

/** Fields, as pairs of number and value, of a protobuf of varints and byte strings; one without value is left out. */
const encode = (fields) => Buffer.concat(fields.filter(([, value]) => value !== undefined).flatMap(([number, value]) => (Buffer.isBuffer(value)
  ? [varint(number * 8 + 2), varint(value.length), value]
  : [varint(number * 8), varint(value)])));

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

/** What came of a promise: a value, or why it was refused. */
const outcome = (promise) => promise.then((value) => ({ value }), (error) => ({ refused: error.message }));

/** Run a finding: `find` returns pairs of what was seen and whether it was. */
function finding(id, title, find) {
  say(`${id}: ${title}`);
  (async () => {
    const signal = await import('@signalapp/libsignal-client');
    const seen = await find({ signal, ...made(signal) });
    for (const [what, was] of seen) say(`  ${was ? 'seen' : 'NOT SEEN'}: ${what}`);
    process.exitCode = seen.length > 0 && seen.every(([, was]) => was) ? 0 : 1;
  })().catch((error) => {
    say(`  failed: ${error.stack}`);
    process.exitCode = 1;
  });
}

module.exports = { encode, finding, outcome };
