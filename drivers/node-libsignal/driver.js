'use strict';
/*
 * A driver of Pawl's gate for npm libsignal 6.0.0: newline-delimited JSON-RPC 2.0 on stdin and stdout.
 * The contract is in docs/reference/driver-contract.md; what this driver's store decides is in README.md beside it.
 * The peer is used through its public API only.
 */

const crypto = require('node:crypto');

// -- which store -------------------------------------------------------------------------------------------------------

const STORES = { text: 'node-libsignal', live: 'node-libsignal-live' };
const [option = '--store', kind = 'text', ...more] = process.argv.slice(2);
if (option !== '--store' || !Object.hasOwn(STORES, kind) || more.length > 0) {
  process.stderr.write('usage: driver.js [--store text|live]\n');
  process.exit(2);
}
/** Whether loadSession hands out the record that the store holds, in place of a new one made from text. */
const LIVE = kind === 'live';

// -- quiet: stdout carries answers only ------------------------------------------------------------------------------

// The peer writes to the console, session keys included. Its causes are kept for the refusal's text, the rest is dropped.
let causes = [];
const tell = process.stdout.write.bind(process.stdout);
process.stdout.write = () => true;
for (const method of Object.keys(console)) if (typeof console[method] === 'function') console[method] = () => {};
console.error = (first) => {
  if (typeof first === 'string' && first.startsWith('Session error:') && causes.length < 4) causes.push(first.slice(14, 214));
};

// -- time: one operation a second ------------------------------------------------------------------------------------

// The peer orders sessions by the clock. Milliseconds would make that order a matter of luck.
const EPOCH = 1_700_000_000_000;
let now = EPOCH;
Date.now = () => now;

// -- work: what can be counted from outside ---------------------------------------------------------------------------

// A chain step is an HMAC over the byte 2; a derivation (HKDF) has one first block, its label followed by the byte 1.
let work = 0;
const { createHmac } = crypto;
crypto.createHmac = (...args) => {
  const hmac = createHmac(...args);
  const { update } = hmac;
  hmac.update = (data, ...rest) => {
    const step = data.length === 1 && data[0] === 2;
    const block = data.length <= 32 && data[data.length - 1] === 1 && data.toString('latin1', 0, 7) === 'Whisper';
    if (step || block) work += 1;
    return update.call(hmac, data, ...rest);
  };
  return hmac;
};

const libsignal = require('libsignal');
const { version } = require('libsignal/package.json');

// -- keys: drawn by the peer, unless they were put in ------------------------------------------------------------------

/** Private keys that the next operation draws, in order. */
let injected = [];
const { curve } = libsignal;
const drawn = curve.generateKeyPair;
curve.generateKeyPair = () => (injected.length > 0 ? pairOf(injected.shift()) : drawn());

/** An X25519 private key in DER, before its 32 bytes. Source: RFC 8410. */
const PRIVATE_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');

/** The pair of a private key of 32 bytes. The peer's own way to a public key takes another form of private key. */
function pairOf(privKey) {
  const key = crypto.createPrivateKey({ key: Buffer.concat([PRIVATE_PREFIX, privKey]), format: 'der', type: 'pkcs8' });
  const spki = crypto.createPublicKey(key).export({ format: 'der', type: 'spki' });
  return { pubKey: Buffer.concat([Buffer.from([5]), spki.subarray(-32)]), privKey };
}

// -- a party and its store --------------------------------------------------------------------------------------------

const pair = ({ pubKey, privKey }) => ({ pubKey: pubKey.toString('hex'), privKey: privKey.toString('hex') });
const unpair = ({ pubKey, privKey }) => ({ pubKey: Buffer.from(pubKey, 'hex'), privKey: Buffer.from(privKey, 'hex') });

const parse = (text) => libsignal.SessionRecord.deserialize(JSON.parse(text));

/** One device. Its durable data is text and numbers only; with the live store, the records are held as objects too. */
class Party {
  constructor(durable) {
    this.durable = durable;
    /** The records that the live store hands out, by address. */
    this.held = new Map(LIVE ? Object.entries(durable.sessions).map(([at, text]) => [at, parse(text)]) : []);
    /** What the store holds for an address, as text, and what can be counted in it; made anew when it may have changed. */
    this.seen = new Map();
    this.digest = undefined;
    /** Identities that the operation under way was told to trust; pinned when the peer stores a session. */
    this.asked = new Map();
    /** While a crash is armed: what was durable before each call of the store. */
    this.journal = undefined;
    this.crashAt = undefined;
    /** Of the last operation: whether it stored a session, and the key derivations that it caused. */
    this.stored = false;
    this.work = 0;
  }

  static install({ name, deviceId, trustOnFirstUse, identity, registrationId }) {
    return new Party({
      name,
      deviceId,
      trustOnFirstUse,
      identity: pair(identity ?? libsignal.keyhelper.generateIdentityKeyPair()),
      registrationId: registrationId ?? libsignal.keyhelper.generateRegistrationId(),
      nextPreKeyId: 1,
      preKeys: {},
      signedPreKeys: {},
      pins: {},
      sessions: {},
    });
  }

  get address() {
    return new libsignal.ProtocolAddress(this.durable.name, this.durable.deviceId);
  }

  // The eight methods that the peer calls. A crash can strike before each of them.

  call() {
    if (this.journal !== undefined && this.journal.length <= this.crashAt) this.journal.push(JSON.stringify(this.durable));
  }

  getOurIdentity() {
    this.call();
    return unpair(this.durable.identity);
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
    this.durable.sessions[at] = JSON.stringify(record.serialize());
    if (LIVE) this.held.set(at, record);
    // The peer stores a session only after what carried the identity was accepted: now it is pinned.
    const name = nameOf(at);
    if (this.asked.has(name)) this.durable.pins[name] = this.asked.get(name);
    this.stored = true;
    this.touch(at);
  }

  isTrustedIdentity(identifier, key) {
    this.call();
    // The peer asks with "name" or "name.device": one pin per name.
    const name = nameOf(identifier);
    const hex = Buffer.from(key).toString('hex');
    const pin = this.durable.pins[name];
    if (pin !== undefined) return pin === hex;
    if (!this.durable.trustOnFirstUse) return false;
    this.asked.set(name, hex);
    return true;
  }

  loadPreKey(id) {
    this.call();
    const found = this.durable.preKeys[id];
    return found && unpair(found);
  }

  removePreKey(id) {
    this.call();
    delete this.durable.preKeys[id];
    this.touch();
  }

  loadSignedPreKey(id) {
    this.call();
    const found = this.durable.signedPreKeys[id];
    return found && unpair(found);
  }

  // What the application does.

  bundle(oneTime) {
    const durable = this.durable;
    const identity = this.getOurIdentity();
    if (durable.signedPreKeys[1] === undefined) {
      const { keyPair, signature } = libsignal.keyhelper.generateSignedPreKey(identity, 1);
      durable.signedPreKeys[1] = { ...pair(keyPair), signature: signature.toString('hex') };
    }
    let preKey = null;
    if (oneTime) {
      preKey = libsignal.keyhelper.generatePreKey(durable.nextPreKeyId++);
      durable.preKeys[preKey.keyId] = pair(preKey.keyPair);
    }
    this.touch();
    return {
      registration_id: durable.registrationId,
      device_id: durable.deviceId,
      identity_key: durable.identity.pubKey,
      signed_prekey_id: 1,
      signed_prekey: durable.signedPreKeys[1].pubKey,
      signature: durable.signedPreKeys[1].signature,
      prekey_id: preKey && preKey.keyId,
      prekey: preKey && preKey.keyPair.pubKey.toString('hex'),
    };
  }

  approve(name, hex) {
    this.durable.pins[name] = hex;
    this.touch();
  }

  /** The durable data changed, or what the store holds for an address. */
  touch(at) {
    this.digest = undefined;
    if (at !== undefined) this.seen.delete(at);
  }

  /** What the store holds, as text: the same state has the same text. */
  text() {
    for (const at of LIVE ? this.held.keys() : Object.keys(this.durable.sessions)) {
      if (this.seen.has(at)) continue;
      const text = LIVE ? JSON.stringify(this.held.get(at).serialize()) : this.durable.sessions[at];
      this.seen.set(at, { text, counts: count(JSON.parse(text)) });
    }
    // Keys that are numbers come sorted, the others are never deleted.
    const held = LIVE ? [...this.seen].map(([at, { text }]) => [at, text]).sort() : [];
    return JSON.stringify([this.durable, held]);
  }

  observe() {
    this.digest ??= crypto.createHash('sha256').update(this.text()).digest('hex');
    const most = (field) => Math.max(0, ...[...this.seen.values()].map(({ counts }) => counts[field]));
    return {
      digest: this.digest,
      prekeys: Object.keys(this.durable.preKeys).map(Number),
      sessions: most('closed'),
      chains: most('chains'),
      kept_chain: most('keptChain'),
      kept_session: most('keptSession'),
      durable: this.stored,
      work: this.work,
    };
  }

  // Crashes.

  /**
   * The operation is over. If a crash was due within it: go back to what was durable there, and say what the whole
   * operation would have left. What the peer did after that moment reached nothing but this party's memory and store.
   */
  crash() {
    const { journal, crashAt } = this;
    if (journal === undefined) return undefined;
    if (crashAt === HANDED_OUT ? !this.stored : journal.length <= crashAt) {
      this.journal = [];
      return undefined;
    }
    this.disarm();
    const complete = this.observe().digest;
    if (crashAt !== HANDED_OUT) this.durable = JSON.parse(journal[crashAt]);
    this.crashed = true;
    return complete;
  }

  disarm() {
    const armed = this.journal !== undefined;
    this.journal = this.crashAt = undefined;
    return armed;
  }
}

/** The crash point behind everything: all is stored, nothing was handed out. Smaller ones count the store's calls. */
const HANDED_OUT = 15;

/** The name in "name" or "name.device"; names hold no dot. */
const nameOf = (identifier) => String(identifier).split('.', 1)[0];

/** In a serialised record, the type of a chain that receives. */
const RECEIVING = 2;

/** What can be counted in one serialised session record. */
function count(record) {
  const counts = { closed: 0, chains: 0, keptChain: 0, keptSession: 0 };
  for (const session of Object.values(record._sessions)) {
    let chains = 0;
    let kept = 0;
    if (session.indexInfo.closed !== -1) counts.closed += 1;
    for (const chain of Object.values(session._chains)) {
      const keys = Object.keys(chain.messageKeys).length;
      if (chain.chainType === RECEIVING) chains += 1;
      counts.keptChain = Math.max(counts.keptChain, keys);
      kept += keys;
    }
    counts.chains = Math.max(counts.chains, chains);
    counts.keptSession = Math.max(counts.keptSession, kept);
  }
  return counts;
}

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
  const found = CODES.find(([pattern]) => pattern.test(error.message));
  return found ? found[1] : 'unknown';
}

// -- verbs ------------------------------------------------------------------------------------------------------------

class BadParams extends Error {}

const parties = new Map();

/** The peer refused: everything it throws is a refusal, for it has no other way to say so. */
class PeerRefused extends Error {
  constructor(cause) {
    super();
    this.cause = cause;
  }
}

async function ask(call) {
  try {
    return await call();
  } catch (error) {
    throw new PeerRefused(error instanceof Error ? error : new Error(String(error)));
  }
}

function need(params, field, type) {
  const value = params[field];
  if (type === 'int' ? !Number.isSafeInteger(value) || value < 0 : typeof value !== type) throw new BadParams(`${field}: expected ${type}`);
  return value;
}

function bytes(params, field) {
  const text = need(params, field, 'string');
  if (!/^([0-9a-f]{2})*$/.test(text)) throw new BadParams(`${field}: expected hex`);
  return Buffer.from(text, 'hex');
}

function privateKey(params, field) {
  const key = bytes(params, field);
  if (key.length !== 32) throw new BadParams(`${field}: expected 32 bytes`);
  return key;
}

function party(params, field = 'party') {
  const found = parties.get(need(params, field, 'int'));
  if (found === undefined) throw new BadParams(`${field}: no such party`);
  return found;
}

/** Names become keys of plain objects here, and addresses with a dot. */
function nameFrom(params) {
  const name = need(params, 'name', 'string');
  // The peer writes an address as name, dot, device; names are keys of plain objects here.
  if (!/^[^.]+$/.test(name) || name in {}) throw new BadParams('name: without a dot, and no name that every object has');
  return name;
}

const verbs = {
  hello: () => ({
    name: STORES[kind],
    version,
    protocol: 1,
    message_versions: [3],
    level: 1,
    // What the live store holds in memory is part of the state that is compared: crashes are for the other one.
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

  reset(params) {
    need(params, 'seed', 'int');
    parties.clear();
    injected = [];
    now = EPOCH;
    return {};
  },

  create(params) {
    const id = need(params, 'party', 'int');
    const name = nameFrom(params);
    const deviceId = need(params, 'device_id', 'int');
    const made = Party.install({ name, deviceId, trustOnFirstUse: need(params, 'trust_on_first_use', 'boolean') });
    parties.set(id, made);
    return { identity_key: made.durable.identity.pubKey };
  },

  reinstall(params) {
    const { name, deviceId, trustOnFirstUse } = party(params).durable;
    const made = Party.install({ name, deviceId, trustOnFirstUse });
    parties.set(params.party, made);
    return { identity_key: made.durable.identity.pubKey };
  },

  bundle(params) {
    return party(params).bundle(need(params, 'one_time', 'boolean'));
  },

  async establish(params) {
    const given = need(params, 'bundle', 'object') ?? {};
    const device = {
      registrationId: need(given, 'registration_id', 'int'),
      identityKey: bytes(given, 'identity_key'),
      signedPreKey: {
        keyId: need(given, 'signed_prekey_id', 'int'),
        publicKey: bytes(given, 'signed_prekey'),
        signature: bytes(given, 'signature'),
      },
    };
    if (given.prekey_id !== null) device.preKey = { keyId: need(given, 'prekey_id', 'int'), publicKey: bytes(given, 'prekey') };
    const builder = new libsignal.SessionBuilder(party(params), party(params, 'peer').address);
    await ask(() => builder.initOutgoing(device));
    return {};
  },

  async encrypt(params) {
    const cipher = new libsignal.SessionCipher(party(params), party(params, 'peer').address);
    const plaintext = bytes(params, 'plaintext');
    const { type, body } = await ask(() => cipher.encrypt(plaintext));
    return { kind: type === 3 ? 'prekey' : 'signal', data: body.toString('hex') };
  },

  async decrypt(params) {
    const cipher = new libsignal.SessionCipher(party(params), party(params, 'peer').address);
    const data = bytes(params, 'data');
    if (params.kind !== 'prekey' && params.kind !== 'signal') throw new BadParams('kind: expected prekey or signal');
    const plaintext = await ask(() =>
      params.kind === 'prekey' ? cipher.decryptPreKeyWhisperMessage(data) : cipher.decryptWhisperMessage(data));
    return { plaintext: plaintext.toString('hex') };
  },

  approve(params) {
    bytes(params, 'identity_key');
    party(params).approve(party(params, 'peer').durable.name, params.identity_key);
    return {};
  },

  import_party(params) {
    const id = need(params, 'party', 'int');
    const made = Party.install({
      name: nameFrom(params),
      deviceId: need(params, 'device_id', 'int'),
      trustOnFirstUse: need(params, 'trust_on_first_use', 'boolean'),
      identity: pairOf(privateKey(params, 'identity')),
      registrationId: need(params, 'registration_id', 'int'),
    });
    parties.set(id, made);
    return { identity_key: made.durable.identity.pubKey };
  },

  import_signed_prekey(params) {
    const made = pair(pairOf(privateKey(params, 'private')));
    bytes(params, 'signature');
    const into = party(params);
    into.durable.signedPreKeys[need(params, 'id', 'int')] = { ...made, signature: params.signature };
    into.touch();
    return { public_key: made.pubKey };
  },

  import_prekey(params) {
    const made = pair(pairOf(privateKey(params, 'private')));
    const into = party(params);
    into.durable.preKeys[need(params, 'id', 'int')] = made;
    into.touch();
    return { public_key: made.pubKey };
  },

  inject_keys(params) {
    party(params);
    const given = params.private;
    if (!Array.isArray(given)) throw new BadParams('private: expected a list');
    injected = given.map((key) => privateKey({ key }, 'key'));
    return {};
  },

  restart(params) {
    // Through text and back: nothing but what is durable survives.
    parties.set(params.party, new Party(JSON.parse(JSON.stringify(party(params).durable))));
    return {};
  },

  arm_crash(params) {
    const at = need(params, 'at', 'int');
    const armed = party(params);
    if (LIVE || at > HANDED_OUT) throw new BadParams('at: there is no such crash point');
    armed.crashAt = at;
    armed.journal = [];
    return {};
  },

  disarm_crash(params) {
    return { armed: party(params).disarm() };
  },

  observe(params) {
    return party(params).observe();
  },
};

/** Verbs that do not act: they change nothing, and what the last operation did stays to be seen. */
const QUIET = new Set(['hello', 'reset', 'observe', 'arm_crash', 'disarm_crash', 'inject_keys']);
/** Verbs within which a crash can strike. */
const CRASHABLE = new Set(['establish', 'encrypt', 'decrypt']);

// -- JSON-RPC ---------------------------------------------------------------------------------------------------------

async function answer(line) {
  let request;
  try {
    request = JSON.parse(line);
  } catch {
    return { id: null, error: { code: -32700, message: 'not JSON' } };
  }
  const { id = null, method, params = {} } = request ?? {};
  if (typeof method !== 'string' || params === null || typeof params !== 'object') {
    return { id, error: { code: -32600, message: 'not a request' } };
  }
  if (!Object.hasOwn(verbs, method)) return { id, error: { code: -32601, message: `no verb ${method.slice(0, 40)}` } };
  const before = parties.get(params.party);
  if (before?.crashed && method !== 'restart' && !QUIET.has(method)) {
    return { id, error: { code: -32602, message: 'party: it crashed; restart it first' } };
  }
  now += 1000;
  causes = [];
  before?.asked.clear();
  if (!QUIET.has(method)) {
    work = 0;
    if (before) before.stored = false;
  }
  // What the operation left behind travels with its answer, so that looking at it costs no round trip.
  const state = () => {
    if (QUIET.has(method)) return {};
    const after = parties.get(params.party);
    after.work = work;
    return { state: { [params.party]: after.observe() } };
  };
  const crashed = () => (CRASHABLE.has(method) ? before?.crash() : undefined);
  const crash = (complete) => ({ id, error: { code: -32001, message: 'crashed, as it was told to', data: { complete } } });
  try {
    const result = await verbs[method](params);
    const complete = crashed();
    return complete === undefined ? { id, result: { ...result, ...state() } } : crash(complete);
  } catch (error) {
    if (error instanceof BadParams) return { id, error: { code: -32602, message: error.message } };
    if (!(error instanceof PeerRefused)) return { id, error: { code: -32603, message: String(error && error.message) } };
    const complete = crashed();
    if (complete !== undefined) return crash(complete);
    const text = [error.cause.message || error.cause.name, ...causes.map((cause) => `[${cause}]`)].join(' ');
    return { id, error: { code: -32000, message: text, data: { refusal: refusal(error.cause), ...state() } } };
  } finally {
    // What was put in is for one operation.
    if (!QUIET.has(method)) injected = [];
  }
}

/** Characters of one request, as the contract has it; of a longer one nothing is kept. */
const MAX_LINE = 4 * 1024 * 1024;

const say = (response) => tell(JSON.stringify({ jsonrpc: '2.0', ...response }) + '\n');

/** One request at a time, in order. */
async function main() {
  let pieces = [];
  let length = 0;
  process.stdin.setEncoding('utf8');
  for await (const chunk of process.stdin) {
    const [first, ...others] = chunk.split('\n');
    const keep = (piece) => {
      length += piece.length;
      if (length <= MAX_LINE) pieces.push(piece);
      else pieces = [];
    };
    keep(first);
    for (const piece of others) {
      say(length > MAX_LINE ? { id: null, error: { code: -32600, message: 'the line is too long' } } : await answer(pieces.join('')));
      pieces = [];
      length = 0;
      keep(piece);
    }
  }
}

main();
