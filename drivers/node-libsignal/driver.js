'use strict';
/*
 * A driver of Pawl's gate for npm libsignal 6.0.0: newline-delimited JSON-RPC 2.0 on stdin and stdout.
 * The contract is in docs/reference/driver-contract.md; what this driver's store decides is in README.md beside it.
 * The peer is used through its public API only.
 */

const crypto = require('node:crypto');
const shared = require('../in_node.js');

const { JavaScriptParty, bytes, clock, hex, kindFrom, need, party, underway, unhex } = shared;

// -- which store -------------------------------------------------------------------------------------------------------

const STORES = { text: 'node-libsignal', live: 'node-libsignal-live' };
const [option = '--store', store = 'text', ...more] = process.argv.slice(2);
if (option !== '--store' || !Object.hasOwn(STORES, store) || more.length > 0) {
  process.stderr.write('usage: driver.js [--store text|live]\n');
  process.exit(2);
}
/** Whether loadSession hands out the record that the store holds, in place of a new one made from text. */
const LIVE = store === 'live';

// -- what is heard of the peer ----------------------------------------------------------------------------------------

// It writes to the console, session keys included. Its causes are kept for the refusal's text, the rest is dropped.
let causes = [];
console.error = (first) => {
  if (typeof first === 'string' && first.startsWith('Session error:') && causes.length < 4) causes.push(first.slice(14, 214));
};

// It orders sessions by the clock.
clock.start();

// Its work can be counted from outside.
const { createHmac } = crypto;
crypto.createHmac = (...args) => {
  const hmac = createHmac(...args);
  const { update } = hmac;
  hmac.update = (data, ...rest) => {
    shared.countHmac(data);
    return update.call(hmac, data, ...rest);
  };
  return hmac;
};

const libsignal = require('libsignal');
const { version } = require('libsignal/package.json');

// -- keys: drawn by the peer, unless they were put in ------------------------------------------------------------------

const { curve } = libsignal;
const drawn = curve.generateKeyPair;
curve.generateKeyPair = () => (underway.injected.length > 0 ? pairOf(underway.injected.shift()) : drawn());

/** The pair of a private key of 32 bytes. The peer's own way to a public key takes another form of private key. */
const pairOf = (privKey) => ({ pubKey: Buffer.concat([Buffer.from([5]), shared.publicOf(privKey)]), privKey });

// -- a party and its store --------------------------------------------------------------------------------------------

const parse = (text) => libsignal.SessionRecord.deserialize(JSON.parse(text));

/** One device. Its durable data is text and numbers only; with the live store, the records are held as objects too. */
class Party extends JavaScriptParty {
  constructor(durable) {
    super(durable);
    /** The records that the live store hands out, by address. */
    this.held = new Map(LIVE ? Object.entries(durable.sessions).map(([at, text]) => [at, parse(text)]) : []);
  }

  /** Crashes are for the store that holds text: what the live one holds in memory is part of the state that is compared. */
  get crashes() { return !LIVE; }

  get address() { return new libsignal.ProtocolAddress(this.durable.name, this.durable.deviceId); }

  unpair({ pubKey, privKey }) { return { pubKey: unhex(pubKey), privKey: unhex(privKey) }; }

  // The eight methods that the peer calls. A crash can strike before each of them.

  getOurIdentity() {
    this.call();
    return this.unpair(this.durable.identity);
  }

  getOurRegistrationId() {
    this.call();
    return this.durable.registrationId;
  }

  loadSession(at) {
    this.call();
    if (LIVE) {
      // From here on the peer may change what is held.
      this.touch(at);
      return this.held.get(at);
    }
    const text = this.durable.sessions[at];
    return text === undefined ? undefined : parse(text);
  }

  storeSession(at, record) {
    this.call();
    if (LIVE) this.held.set(at, record);
    this.keep(at, nameOf(at), JSON.stringify(record.serialize()));
  }

  /** Asked with "name" or "name.device". */
  isTrustedIdentity(identifier, key) { return this.trusts(nameOf(identifier), key); }

  loadPreKey(id) { return this.pairAt('preKeys', id); }

  removePreKey(id) { this.spend(id); }

  loadSignedPreKey(id) { return this.pairAt('signedPreKeys', id); }

  // What can be seen of it.

  addresses() { return LIVE ? [...this.held.keys()] : super.addresses(); }

  textOf(at) { return LIVE ? JSON.stringify(this.held.get(at).serialize()) : super.textOf(at); }

  countsOf(record) { return shared.count(record._sessions, (session) => session._chains); }

  text() {
    this.look();
    const held = LIVE ? [...this.seen].map(([at, { text }]) => [at, text]).sort() : [];
    return JSON.stringify([this.durable, held]);
  }
}

const install = (given, identity = libsignal.keyhelper.generateIdentityKeyPair(), id = libsignal.keyhelper.generateRegistrationId()) =>
  new Party(JavaScriptParty.durable(given, identity, id));

/** The name in "name" or "name.device"; names hold no dot. */
const nameOf = (identifier) => String(identifier).split('.', 1)[0];

// -- refusals ---------------------------------------------------------------------------------------------------------

const CODES = [
  [/^Key used already or never filled$/, 'duplicate-message'],
  [/^Over 2000 messages into the future!$/, 'too-far-ahead'],
  [/^(No sessions|No open session|No session record|No sessions available)$/, 'no-session'],
  [/^Invalid PreKey ID$/, 'unknown-prekey'],
  [/^Missing SignedPreKey$/, 'unknown-signed-prekey'],
  [/^Bad MAC( length)?$/, 'bad-mac'],
  [/^Invalid signature$/, 'invalid-signature'],
  [/^Invalid public key/, 'invalid-key'],
  [/^Incompatible version number on /, 'unknown-version'],
  [/^(index out of range|invalid wire type|invalid varint encoding|maximum nesting depth exceeded)/, 'malformed-message'],
];

/** Our code for what the peer threw; "unknown" where its text does not tell the cause. */
function refusal(error) {
  if (error instanceof libsignal.UntrustedIdentityKeyError) return 'untrusted-identity';
  if (error.code === 'ERR_OSSL_FAILED_DURING_DERIVATION') return 'invalid-key';
  return shared.codeOf(CODES, error);
}

const ask = shared.asking(refusal, (error) => [error.message || error.name, ...causes.map((cause) => `[${cause}]`)].join(' '));

// -- verbs ------------------------------------------------------------------------------------------------------------

/** Names become keys of plain objects here, and addresses with a dot. */
function named(params) {
  const name = need(params, 'name', 'string');
  // The peer writes an address as name, dot, device; names are keys of plain objects here.
  if (!/^[^.]+$/.test(name) || name in {}) throw new shared.BadParams('name: without a dot, and no name that every object has');
  return name;
}

const verbs = {
  hello: () => ({
    name: STORES[store],
    version,
    protocol: 1,
    message_versions: [3],
    level: 1,
    capabilities: [
      ...['reinstall', 'approve', 'strict-identity', 'restart', 'work', 'import-keys', 'inject-keys'],
      ...(LIVE ? [] : ['crash']),
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
    profile: { promotes: 'never', closes_chains: true },
  }),

  ...shared.worldVerbs({ install, named, reset: () => clock.reset() }),
  ...shared.pinVerbs,
  ...shared.crashVerbs,
  ...shared.importVerbs({ install, named, pairOf }),

  bundle(params) {
    const { generateSignedPreKey, generatePreKey } = libsignal.keyhelper;
    return party(params).offer(need(params, 'one_time', 'boolean'), generateSignedPreKey, generatePreKey);
  },

  async establish(params) {
    const device = shared.bundleFrom(params);
    const builder = new libsignal.SessionBuilder(party(params), party(params, 'peer').address);
    await ask(() => builder.initOutgoing(device));
    return {};
  },

  async encrypt(params) {
    const cipher = new libsignal.SessionCipher(party(params), party(params, 'peer').address);
    const plaintext = bytes(params, 'plaintext');
    const { type, body } = await ask(() => cipher.encrypt(plaintext));
    return { kind: type === 3 ? 'prekey' : 'signal', data: hex(body) };
  },

  async decrypt(params) {
    const cipher = new libsignal.SessionCipher(party(params), party(params, 'peer').address);
    const data = bytes(params, 'data');
    const kind = kindFrom(params);
    const plaintext = await ask(() => (kind === 'prekey' ? cipher.decryptPreKeyWhisperMessage(data) : cipher.decryptWhisperMessage(data)));
    return { plaintext: hex(plaintext) };
  },
};

shared.serve(verbs, () => { causes = []; });
