'use strict';
/*
 * A driver of Pawl's gate for npm @privacyresearch/libsignal-protocol-typescript 0.0.16: newline-delimited JSON-RPC 2.0
 * on stdin and stdout. The contract is in docs/reference/driver-contract.md; what this driver decides is in README.md
 * beside it. The peer is used through its public API only.
 */

const crypto = require('node:crypto');
const shared = require('../in_node.js');

const { JavaScriptParty, clock, hex, kindFrom, need, party, privateKeyOf, publicKeyOf, underway } = shared;

const CURVES = ['quick', 'own'];
const [option = '--curve', curve = 'quick', ...more] = process.argv.slice(2);
if (option !== '--curve' || !CURVES.includes(curve) || more.length > 0) {
  process.stderr.write('usage: driver.js [--curve quick|own]\n');
  process.exit(2);
}

// The peer orders sessions by the clock.
clock.start();

// Before Node 20 the peer finds no web crypto by itself, and does not load.
globalThis.crypto ??= crypto.webcrypto;
const signal = require('@privacyresearch/libsignal-protocol-typescript');
const { version } = require('@privacyresearch/libsignal-protocol-typescript/package.json');

// -- what the peer takes from its surroundings: randomness, hashes, a cipher; and, if wanted, a curve -----------------

/** The stream that everything else is drawn from: one seed, one transcript. */
let stream = seeded(0);
function seeded(seed) {
  const key = crypto.createHash('sha256').update(`pawl ${seed}`).digest();
  return crypto.createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
}

/** The bytes as an ArrayBuffer of their own, and as a view that shares them. */
const whole = (bytes) => (bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
const view = (data) => (ArrayBuffer.isView(data) ? Buffer.from(data.buffer, data.byteOffset, data.byteLength) : Buffer.from(data));

/** The part of a web crypto that the peer uses, made of node:crypto: no thread is asked, and work can be counted. */
signal.setWebCrypto({
  getRandomValues(array) {
    array.set(underway.injected.length > 0 ? underway.injected.shift() : stream.update(Buffer.alloc(array.length)));
    return array;
  },
  subtle: {
    importKey: async (_format, key) => view(key),
    async sign(_how, key, data) {
      const input = view(data);
      shared.countHmac(input);
      return whole(crypto.createHmac('sha256', key).update(input).digest());
    },
    async encrypt({ iv }, key, data) {
      const cipher = crypto.createCipheriv('aes-256-cbc', key, view(iv));
      return whole(Buffer.concat([cipher.update(view(data)), cipher.final()]));
    },
    async decrypt({ iv }, key, data) {
      const cipher = crypto.createDecipheriv('aes-256-cbc', key, view(iv));
      return whole(Buffer.concat([cipher.update(view(data)), cipher.final()]));
    },
    digest: async (_how, data) => whole(crypto.createHash('sha512').update(view(data)).digest()),
  },
});

/** Results of the peer's own signing and verifying, which depend on nothing but their arguments. */
const known = new Map();
const KNOWN = 20_000;

async function once(what, parts, ask) {
  const key = [what, ...parts.map((part) => view(part).toString('latin1'))].join('\n');
  if (!known.has(key)) {
    if (known.size >= KNOWN) known.clear();
    known.set(key, await ask());
  }
  return known.get(key);
}

/**
 * The peer's curve, a hundred times faster: OpenSSL multiplies, the peer's own curve does what OpenSSL refuses (secrets
 * of nothing but zeros) and what has to do with signatures. A test holds the two to each other.
 */
function quick(own) {
  return {
    async keyPair(given) {
      const privKey = Buffer.from(view(given));
      privKey[0] &= 248;
      privKey[31] = (privKey[31] & 127) | 64;
      return { pubKey: whole(shared.publicOf(privKey)), privKey: whole(privKey) };
    },
    async sharedSecret(pubKey, privKey) {
      try {
        return whole(crypto.diffieHellman({ privateKey: privateKeyOf(view(privKey)), publicKey: publicKeyOf(view(pubKey)) }));
      } catch {
        return own.sharedSecret(pubKey, privKey);
      }
    },
    sign: (privKey, message) => once('sign', [privKey, message], () => own.sign(privKey, message)),
    verify: (pubKey, message, signature) => once('verify', [pubKey, message, signature], () => own.verify(pubKey, message, signature)),
  };
}

if (curve === 'quick') {
  // The peer's own curve is a package of its own.
  const { AsyncCurve25519Wrapper } = require('@privacyresearch/curve25519-typescript');
  signal.setCurve(quick(new AsyncCurve25519Wrapper()));
}

// -- a party and its store --------------------------------------------------------------------------------------------

/** Bytes of a request as the peer wants them. */
const bytes = (params, field) => whole(shared.bytes(params, field));

/** One device. Its durable data is text and numbers only. */
class Party extends JavaScriptParty {
  get address() { return new signal.SignalProtocolAddress(this.durable.name, this.durable.deviceId); }

  unpair({ pubKey, privKey }) { return { pubKey: whole(shared.unhex(pubKey)), privKey: whole(shared.unhex(privKey)) }; }

  // The methods that the peer calls; all answer with promises, as its types ask. A crash can strike before each of them.

  async getIdentityKeyPair() {
    this.call();
    return this.unpair(this.durable.identity);
  }

  async getLocalRegistrationId() {
    this.call();
    return this.durable.registrationId;
  }

  async loadSession(at) {
    this.call();
    return this.durable.sessions[at];
  }

  async storeSession(at, record) {
    this.call();
    this.keep(at, nameOf(at), record);
  }

  /** Asked with the name, without device. */
  async isTrustedIdentity(name, key) { return this.trusts(name, key); }

  /** Called before a first message is authenticated, and with keys that were not trusted: the pin is set elsewhere. */
  async saveIdentity() {
    this.call();
    return false;
  }

  async loadPreKey(id) { return this.pairAt('preKeys', id); }

  async removePreKey(id) { this.spend(id); }

  async loadSignedPreKey(id) { return this.pairAt('signedPreKeys', id); }

  // What can be seen of it.

  /** Sessions held for an address. */
  sessionsWith(address) {
    const text = this.durable.sessions[address.toString()];
    return text === undefined ? 0 : Object.keys(JSON.parse(text).sessions).length;
  }

  countsOf(record) { return shared.count(record.sessions, (session) => session.chains); }
}

const install = async (given, identity, id) => new Party(JavaScriptParty.durable(
  given, identity ?? (await signal.KeyHelper.generateIdentityKeyPair()), id ?? signal.KeyHelper.generateRegistrationId()));

/** The name in "name.device". */
const nameOf = (address) => address.slice(0, address.lastIndexOf('.'));

// -- refusals ---------------------------------------------------------------------------------------------------------

const CODES = [
  [/^Message key not found\. /, 'duplicate-message'],
  [/^Over 2000 messages into the future!$/, 'too-far-ahead'],
  [/^(No record for |No session to encrypt message for )/, 'no-session'],
  [/^Identity key changed$/, 'untrusted-identity'],
  [/^Missing Signed PreKey /, 'unknown-signed-prekey'],
  [/^Bad MAC( length)?$/, 'bad-mac'],
  [/^Invalid signature$/, 'invalid-signature'],
  [/^Invalid public key/, 'invalid-key'],
  [/^Incompatible version number on /, 'unknown-version'],
  [/^(index out of range|invalid wire type|invalid varint encoding)/, 'malformed-message'],
];

/** What one session says of a message that is tried on all of them; with several, the others may say otherwise. */
const OF_ONE_SESSION = new Set(['too-far-ahead', 'bad-mac', 'duplicate-message']);

/** Our code for what the peer threw; "unknown" where its text does not tell the cause. */
function refusal(error, sessions) {
  const code = shared.codeOf(CODES, error);
  return sessions > 1 && OF_ONE_SESSION.has(code) ? 'unknown' : code;
}

// -- verbs ------------------------------------------------------------------------------------------------------------

const ask = shared.asking(refusal);

/** The pair of a private key, by the peer's public curve. */
async function pairOf(privKey) {
  const { Curve } = await signal.default();
  return Curve.async.createKeyPair(whole(privKey));
}

const verbs = {
  hello: () => ({
    name: 'privacyresearch',
    version,
    protocol: 1,
    message_versions: [3],
    level: 1,
    capabilities: [
      ...['reinstall', 'approve', 'strict-identity', 'restart', 'crash', 'work'],
      ...['deterministic', 'import-keys', 'inject-keys'],
    ],
    limits: {
      // The peer refuses a counter more than 2000 above the last one used; the next expected is one above that.
      forward_jump: 1999,
      kept_per_chain: null,
      kept_per_session: null,
      receiving_chains: null,
      archived_sessions: 40,
      derivations_per_message: null,
    },
    profile: { promotes: 'always', closes_chains: true },
  }),

  ...shared.worldVerbs({
    install,
    reset(seed) {
      stream = seeded(seed);
      clock.reset();
    },
  }),
  ...shared.pinVerbs,
  ...shared.crashVerbs,
  ...shared.importVerbs({ install, pairOf }),

  bundle(params) {
    const { generateSignedPreKey, generatePreKey } = signal.KeyHelper;
    return party(params).offer(need(params, 'one_time', 'boolean'), generateSignedPreKey, generatePreKey);
  },

  async establish(params) {
    const device = shared.bundleFrom(params, whole);
    const builder = new signal.SessionBuilder(party(params), party(params, 'peer').address);
    await ask(() => builder.processPreKey(device));
    return {};
  },

  async encrypt(params) {
    const cipher = new signal.SessionCipher(party(params), party(params, 'peer').address);
    const plaintext = bytes(params, 'plaintext');
    const { type, body } = await ask(() => cipher.encrypt(plaintext));
    return { kind: type === 3 ? 'prekey' : 'signal', data: Buffer.from(body, 'latin1').toString('hex') };
  },

  async decrypt(params) {
    const from = party(params, 'peer').address;
    const cipher = new signal.SessionCipher(party(params), from);
    const data = bytes(params, 'data');
    const kind = kindFrom(params);
    // The session of a prekey message is named by its base key.
    const plaintext = kind === 'prekey'
      ? await ask(() => cipher.decryptPreKeyWhisperMessage(data))
      : await ask(() => cipher.decryptWhisperMessage(data), party(params).sessionsWith(from));
    return { plaintext: hex(plaintext) };
  },

};

shared.serve(verbs);
