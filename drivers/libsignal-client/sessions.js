'use strict';
/*
 * A driver of Pawl's gate for npm @signalapp/libsignal-client 0.103.0, sessions of version 3 through stored records:
 * newline-delimited JSON-RPC 2.0 on stdin and stdout. The peer refuses to begin such sessions and goes on with those
 * that its store holds: this driver begins them (X3DH, and a record in the peer's stored form), the peer does the rest.
 * README.md beside it says what is whose. The peer is used through its public API only.
 */

const crypto = require('node:crypto');
const { version } = require('@signalapp/libsignal-client/package.json');
const shared = require('../in_node.js');
const { all, encode, fields } = require('../protobuf_in_node.js');

const { Refusal, bytes, hex, need, party, unhex } = shared;

/** The peer: an ES module, which is there once it has been loaded. */
let signal;

// -- X3DH, and the record that it ends in: this driver's, not the peer's ----------------------------------------------

const ROOT = Buffer.from('WhisperText');
const RATCHET = Buffer.from('WhisperRatchet');

/** Two keys of 32 bytes. */
function derive(secret, salt, label) {
  const bytes = Buffer.from(crypto.hkdfSync('sha256', secret, salt, label, 64));
  return [bytes.subarray(0, 32), bytes.subarray(32)];
}

/** A shared secret. The peer multiplies, and refuses secrets of nothing but zeros. */
function agree(own, key) {
  try {
    return Buffer.from(own.agree(key));
  } catch (error) {
    throw new Refusal('invalid-key', error.message);
  }
}

/** Below 2^255 - 19, in the one spelling that it has. */
const canonical = (u) => u[31] < 127 || (u[31] === 127 && (u[0] < 0xed || u.subarray(1, 31).some((byte) => byte !== 0xff)));

async function publicKey(data) {
  // The peer takes a key with something behind it, and any spelling.
  if (data?.length !== 33 || !canonical(data.subarray(1))) throw new Refusal('invalid-key', 'a public key has 33 bytes, and one spelling');
  return ask(() => signal.PublicKey.deserialize(data));
}

const P = 2n ** 255n - 19n;
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
const mod = (number) => ((number % P) + P) % P;

/**
 * Whether a point has no part of small order: its multiple by the order of the group is nothing. Otherwise eight base keys
 * would come to the same secrets, and a copy of a message under another of them would be a new one.
 * Source: RFC 7748, section 5, the ladder.
 */
function inGroup(u) {
  const x = BigInt(`0x${Buffer.from(u).reverse().toString('hex')}`);
  let [x2, z2, x3, z3] = [1n, 0n, x, 1n];
  for (const bit of ORDER.toString(2)) {
    if (bit === '1') [x2, z2, x3, z3] = [x3, z3, x2, z2];
    const [a, b, c, d] = [x2 + z2, x2 - z2, x3 + z3, x3 - z3];
    const [aa, bb, da, cb] = [mod(a * a), mod(b * b), mod(d * a), mod(c * b)];
    x3 = mod((da + cb) ** 2n);
    z3 = mod(x * mod((da - cb) ** 2n));
    x2 = mod(aa * bb);
    z2 = mod((aa - bb) * (aa + 121665n * (aa - bb)));
    if (bit === '1') [x2, z2, x3, z3] = [x3, z3, x2, z2];
  }
  return z2 === 0n;
}

const master = (secrets) => derive(Buffer.concat([Buffer.alloc(32, 0xff), ...secrets]), Buffer.alloc(32), ROOT);

const chain = (key, value, own = null) => encode([[1, key], [2, own], [3, encode([[1, 0], [2, value]])]]);

/** A session in the peer's stored form, of version 3 and without post-quantum state. */
const session = ({ local, remote, root, sending, receiving = null, pending = null, registrationIds: [theirs, ours], base }) => encode([
  [1, 3], [2, local], [3, remote], [4, root], [5, 0], [6, sending], [7, receiving], [9, pending], [10, theirs], [11, ours], [13, base]]);

/** A record whose current session is this one; the peer archives the one before. */
function leading(record, made) {
  if (record === undefined) return encode([[1, made]]);
  const former = signal.SessionRecord.deserialize(record);
  former.archiveCurrentState();
  const archived = all(fields(Buffer.from(former.serialize())), 2);
  return encode([[1, made], ...archived.map((one) => [2, one])]);
}

/** The base keys of a record's sessions, in hex. */
const basesOf = (record) => {
  const held = fields(record);
  return [...all(held, 1), ...all(held, 2)].map((one) => all(fields(one), 13)[0]).filter(Boolean).map(hex);
};

// -- a party and its store --------------------------------------------------------------------------------------------

/** One device. Its durable data is text and numbers only. */
class Party extends shared.Party {
  constructor(durable) {
    super(durable);
    /** Identities that the peer saved; they are pinned with the session that it stores. */
    this.saved = new Map();
    /** A record that this driver made and that is not stored before the peer has read a message with it. */
    this.offered = new Map();
  }

  begin() {
    super.begin();
    this.saved.clear();
    this.offered.clear();
  }

  get address() { return signal.ProtocolAddress.new(this.durable.name, this.durable.deviceId); }
  get identity() { return signal.PrivateKey.deserialize(unhex(this.durable.identity)); }
  get publicKey() { return Buffer.from(this.identity.getPublicKey().serialize()); }
  get identityKey() { return hex(this.publicKey); }

  record(at) {
    const text = this.offered.get(at) ?? this.durable.sessions[at];
    return text === undefined ? undefined : unhex(text);
  }

  store(at, text) {
    this.durable.sessions[at] = text;
    this.offered.clear();
    for (const [name, key] of this.saved) this.durable.pins[name] = key;
    this.saved.clear();
    this.stored = true;
    this.touch();
  }

  trusts(name, key) {
    const pin = this.durable.pins[name];
    return pin === undefined ? this.durable.trustOnFirstUse : pin === hex(key);
  }

  /** The methods that the peer calls: a record is made anew from bytes each time. */
  get sessions() {
    const party = this;
    return new (class extends signal.SessionStore {
      async saveSession(address, record) { party.store(address.toString(), hex(record.serialize())); }
      async getSession(address) {
        const record = party.record(address.toString());
        return record === undefined ? null : signal.SessionRecord.deserialize(record);
      }
      async getExistingSessions(addresses) { return Promise.all(addresses.map((address) => this.getSession(address))); }
    })();
  }

  get identities() {
    const party = this;
    return new (class extends signal.IdentityKeyStore {
      async getIdentityKey() { return party.identity; }
      async getLocalRegistrationId() { return party.durable.registrationId; }
      async saveIdentity(address, key) {
        const replaced = party.durable.pins[address.name()] !== undefined && !party.trusts(address.name(), key.serialize());
        party.saved.set(address.name(), hex(key.serialize()));
        return replaced ? signal.IdentityChange.ReplacedExisting : signal.IdentityChange.NewOrUnchanged;
      }
      async isTrustedIdentity(address, key) { return party.trusts(address.name(), key.serialize()); }
      async getIdentity(address) {
        const pin = party.durable.pins[address.name()];
        return pin === undefined ? null : signal.PublicKey.deserialize(unhex(pin));
      }
    })();
  }

  /** Sessions held for an address. */
  sessionsWith(address) {
    const record = this.record(address.toString());
    return record === undefined ? 0 : basesOf(record).length;
  }

  bundle(oneTime) {
    const { durable } = this;
    if (durable.signedPreKey === null) {
      const key = signal.PrivateKey.generate();
      const signature = this.identity.sign(key.getPublicKey().serialize());
      durable.signedPreKey = { private: hex(key.serialize()), public: hex(key.getPublicKey().serialize()), signature: hex(signature) };
    }
    let id = null;
    if (oneTime) {
      id = durable.nextPreKeyId++;
      durable.preKeys[id] = hex(signal.PrivateKey.generate().serialize());
    }
    this.touch();
    return {
      registration_id: durable.registrationId,
      device_id: durable.deviceId,
      identity_key: this.identityKey,
      signed_prekey_id: SIGNED_PREKEY_ID,
      signed_prekey: durable.signedPreKey.public,
      signature: durable.signedPreKey.signature,
      prekey_id: id,
      prekey: id && hex(signal.PrivateKey.deserialize(unhex(durable.preKeys[id])).getPublicKey().serialize()),
    };
  }

  /** Begin a session as its initiator. */
  async initiate(peer, given) {
    const remote = await publicKey(given.identityKey);
    const signed = await publicKey(given.signedPreKey);
    const prekey = given.preKey && (await publicKey(given.preKey));
    const name = peer.name();
    if (!this.trusts(name, given.identityKey)) throw new Refusal('untrusted-identity', 'not the pinned identity');
    if (!remote.verify(given.signedPreKey, given.signature)) throw new Refusal('invalid-signature', 'the signed prekey is not');
    const [base, ratchet] = [signal.PrivateKey.generate(), signal.PrivateKey.generate()];
    const secrets = [agree(this.identity, signed), agree(base, remote), agree(base, signed), ...(prekey ? [agree(base, prekey)] : [])];
    const [first, theirs] = master(secrets);
    const [root, ours] = derive(agree(ratchet, signed), first, RATCHET);
    const baseKey = Buffer.from(base.getPublicKey().serialize());
    const made = session({
      local: this.publicKey,
      remote: given.identityKey,
      root,
      sending: chain(Buffer.from(ratchet.getPublicKey().serialize()), ours, Buffer.from(ratchet.serialize())),
      receiving: chain(given.signedPreKey, theirs),
      pending: encode([[1, given.preKeyId], [2, baseKey], [3, given.signedPreKeyId], [4, Math.floor(Date.now() / 1000)]]),
      registrationIds: [given.registrationId, this.durable.registrationId],
      base: baseKey,
    });
    const at = peer.toString();
    const record = leading(this.record(at), made);
    this.saved.set(name, hex(given.identityKey));
    this.store(at, hex(record));
  }

  /** Make ready for a first message: offer the peer a record with the session that the message names. */
  async respond(peer, message, outer) {
    const [base, remote] = [await publicKey(all(outer, 2)[0]), await publicKey(all(outer, 3)[0])];
    const baseKey = Buffer.from(base.serialize());
    if (!inGroup(baseKey.subarray(1))) throw new Refusal('invalid-key', 'a base key with a part of small order');
    const at = peer.toString();
    const record = this.record(at);
    if (record !== undefined && basesOf(record).includes(hex(baseKey))) return undefined;
    if (!this.trusts(peer.name(), remote.serialize())) throw new Refusal('untrusted-identity', 'not the pinned identity');
    if (message.signedPreKeyId() !== SIGNED_PREKEY_ID || this.durable.signedPreKey === null) throw new Refusal('unknown-signed-prekey', 'there is none');
    const id = message.preKeyId();
    if (id !== null && this.durable.preKeys[id] === undefined) throw new Refusal('unknown-prekey', 'there is none');
    if (id === null && this.durable.seen.includes(hex(baseKey))) throw new Refusal('replayed-prekey-message', 'its base key is known');
    const signed = signal.PrivateKey.deserialize(unhex(this.durable.signedPreKey.private));
    const secrets = [agree(signed, remote), agree(this.identity, base), agree(signed, base)];
    if (id !== null) secrets.push(agree(signal.PrivateKey.deserialize(unhex(this.durable.preKeys[id])), base));
    const [root, ours] = master(secrets);
    const made = session({
      local: this.publicKey,
      remote: Buffer.from(remote.serialize()),
      root,
      sending: chain(unhex(this.durable.signedPreKey.public), ours, Buffer.from(signed.serialize())),
      registrationIds: [message.registrationId(), this.durable.registrationId],
      base: baseKey,
    });
    this.offered.set(at, hex(leading(record, made)));
    return () => {
      if (id === null) this.durable.seen.push(hex(baseKey));
      else delete this.durable.preKeys[id];
      this.touch();
    };
  }

  counts() {
    const counts = { sessions: 0, chains: 0, kept_chain: 0, kept_session: 0 };
    for (const text of Object.values(this.durable.sessions)) {
      const record = fields(unhex(text));
      counts.sessions = Math.max(counts.sessions, all(record, 2).length);
      for (const one of [...all(record, 1), ...all(record, 2)]) {
        const kept = all(fields(one), 7).map((receiving) => all(fields(receiving), 4).length);
        counts.chains = Math.max(counts.chains, kept.length);
        counts.kept_chain = Math.max(counts.kept_chain, ...kept);
        counts.kept_session = Math.max(counts.kept_session, kept.reduce((sum, keys) => sum + keys, 0));
      }
    }
    return { prekeys: Object.keys(this.durable.preKeys).map(Number), ...counts };
  }
}

const SIGNED_PREKEY_ID = 1;

function install({ name, deviceId, trustOnFirstUse }) {
  const identity = signal.PrivateKey.generate();
  return new Party({
    name, deviceId, trustOnFirstUse, identity: hex(identity.serialize()), registrationId: 1 + crypto.randomInt(16380),
    nextPreKeyId: 1, preKeys: {}, signedPreKey: null, pins: {}, sessions: {}, seen: [],
  });
}

// -- refusals ---------------------------------------------------------------------------------------------------------

const CODES = [
  [/^session with .* not found$/, 'no-session'],
  [/^untrusted identity for address /, 'untrusted-identity'],
  [/^message with old counter /, 'duplicate-message'],
  [/^ciphertext version was (unrecognized|too old) /, 'unknown-version'],
  [/^(ciphertext serialized bytes were too short |protobuf encoding was invalid$)/, 'malformed-message'],
  [/^(no key type identifier|bad key type |bad key length )/, 'invalid-key'],
];

/** Our code for what the peer threw; "unknown" where its text does not tell the cause, or tells that of one of several. */
function refusal(error, sessions) {
  const code = shared.codeOf(CODES, error);
  return sessions > 1 && code === 'duplicate-message' ? 'unknown' : code;
}

const ask = shared.asking(refusal);

// -- verbs ------------------------------------------------------------------------------------------------------------

/** The stores of prekeys: the peer has no use for them where the session is there. */
const none = () => { throw new Error('no prekey is asked for'); };

const verbs = {
  hello: () => ({
    name: 'libsignal-client-sessions',
    version,
    protocol: 1,
    message_versions: [3],
    level: 1,
    capabilities: ['approve', 'reinstall', 'restart', 'strict-identity'],
    limits: {
      forward_jump: 25000,
      kept_per_chain: 2000,
      // Of each of five chains.
      kept_per_session: 10000,
      receiving_chains: 5,
      archived_sessions: 40,
      derivations_per_message: null,
    },
    profile: { promotes: 'always', closes_chains: false },
  }),

  ...shared.worldVerbs({ install }),
  ...shared.pinVerbs,

  bundle(params) {
    return party(params).bundle(need(params, 'one_time', 'boolean'));
  },

  async establish(params) {
    const { registrationId, identityKey, signedPreKey, preKey } = shared.bundleFrom(params);
    await party(params).initiate(party(params, 'peer').address, {
      registrationId,
      identityKey,
      signedPreKeyId: signedPreKey.keyId,
      signedPreKey: signedPreKey.publicKey,
      signature: signedPreKey.signature,
      preKeyId: preKey?.keyId ?? null,
      preKey: preKey?.publicKey,
    });
    return {};
  },

  async encrypt(params) {
    const own = party(params);
    const peer = party(params, 'peer').address;
    const plaintext = bytes(params, 'plaintext');
    const made = await ask(() => signal.signalEncrypt(plaintext, peer, own.address, own.sessions, own.identities));
    return { kind: made.type() === signal.CiphertextMessageType.PreKey ? 'prekey' : 'signal', data: hex(made.serialize()) };
  },

  async decrypt(params) {
    const own = party(params);
    const peer = party(params, 'peer').address;
    const data = bytes(params, 'data');
    if (shared.kindFrom(params) === 'signal') {
      const message = await ask(() => signal.SignalMessage.deserialize(data));
      const read = () => signal.signalDecrypt(message, peer, own.address, own.sessions, own.identities);
      return { plaintext: hex(await ask(read, own.sessionsWith(peer))) };
    }
    const message = await ask(() => signal.PreKeySignalMessage.deserialize(data));
    const done = await own.respond(peer, message, fields(data.subarray(1)) ?? []);
    const prekeys = { getPreKey: none, removePreKey: none, getSignedPreKey: none, getKyberPreKey: none, markKyberPreKeyUsed: none };
    const plaintext = await ask(() =>
      signal.signalDecryptPreKey(message, peer, own.address, own.sessions, own.identities, ...storesOf(prekeys)), own.sessionsWith(peer));
    done?.();
    return { plaintext: hex(plaintext) };
  },
};

/** Stores of prekeys that hold nothing. */
const storesOf = (methods) => [signal.PreKeyStore, signal.SignedPreKeyStore, signal.KyberPreKeyStore].map((Base) =>
  Object.assign(new (class extends Base {})(), methods));

import('@signalapp/libsignal-client').then((peer) => {
  signal = peer;
  return shared.serve(verbs);
});
