'use strict';
/*
 * A driver of Pawl's gate for npm @privacyresearch/libsignal-protocol-typescript 0.0.16: newline-delimited JSON-RPC 2.0
 * on stdin and stdout. The contract is in docs/reference/driver-contract.md; what this driver decides is in README.md
 * beside it. The peer is used through its public API only.
 */

const crypto = require('node:crypto');

const CURVES = ['quick', 'own'];
const [option = '--curve', curve = 'quick', ...more] = process.argv.slice(2);
if (option !== '--curve' || !CURVES.includes(curve) || more.length > 0) {
  process.stderr.write('usage: driver.js [--curve quick|own]\n');
  process.exit(2);
}

// Stdout carries answers only.
const tell = process.stdout.write.bind(process.stdout);
process.stdout.write = () => true;
for (const method of Object.keys(console)) if (typeof console[method] === 'function') console[method] = () => {};

// -- time: one operation a second ------------------------------------------------------------------------------------

// The peer orders sessions by the clock. Milliseconds would make that order a matter of luck.
const EPOCH = 1_700_000_000_000;
let now = EPOCH;
Date.now = () => now;

// Before Node 20 the peer finds no web crypto by itself, and does not load.
globalThis.crypto ??= crypto.webcrypto;
const signal = require('@privacyresearch/libsignal-protocol-typescript');
const { version } = require('@privacyresearch/libsignal-protocol-typescript/package.json');

// -- what the peer takes from its surroundings: randomness, hashes, a cipher; and, if wanted, a curve -----------------

/** Private keys that the next operation draws, in order. */
let injected = [];
/** The stream that everything else is drawn from: one seed, one transcript. */
let stream = seeded(0);
/** Chain steps and key derivations of the last operation. */
let work = 0;

function seeded(seed) {
  const key = crypto.createHash('sha256').update(`pawl ${seed}`).digest();
  return crypto.createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
}

/** The bytes as an ArrayBuffer of their own, and as a view that shares them. */
const whole = (bytes) => (bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
const view = (data) => (ArrayBuffer.isView(data) ? Buffer.from(data.buffer, data.byteOffset, data.byteLength) : Buffer.from(data));

/** The label of a derivation in its first block, before the byte 1. */
const LABEL = Buffer.from('Whisper');

/** The part of a web crypto that the peer uses, made of node:crypto: no thread is asked, and work can be counted. */
signal.setWebCrypto({
  getRandomValues(array) {
    array.set(injected.length > 0 ? injected.shift() : stream.update(Buffer.alloc(array.length)));
    return array;
  },
  subtle: {
    importKey: async (_format, key) => view(key),
    async sign(_how, key, data) {
      const input = view(data);
      const step = input.length === 1 && input[0] === 2;
      const block = input.length <= 32 && input[input.length - 1] === 1 && input.subarray(0, 7).equals(LABEL);
      if (step || block) work += 1;
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

/** An X25519 private and public key in DER, before their 32 bytes. Source: RFC 8410. */
const PRIVATE_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');
const PUBLIC_PREFIX = Buffer.from('302a300506032b656e032100', 'hex');

const privateKeyOf = (key) => crypto.createPrivateKey({ key: Buffer.concat([PRIVATE_PREFIX, view(key)]), format: 'der', type: 'pkcs8' });
const publicKeyOf = (key) => crypto.createPublicKey({ key: Buffer.concat([PUBLIC_PREFIX, view(key)]), format: 'der', type: 'spki' });

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
      const spki = crypto.createPublicKey(privateKeyOf(privKey)).export({ format: 'der', type: 'spki' });
      return { pubKey: whole(spki.subarray(-32)), privKey: whole(privKey) };
    },
    async sharedSecret(pubKey, privKey) {
      try {
        return whole(crypto.diffieHellman({ privateKey: privateKeyOf(privKey), publicKey: publicKeyOf(pubKey) }));
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

const hex = (data) => view(data).toString('hex');
const unhex = (text) => whole(Buffer.from(text, 'hex'));
const pair = ({ pubKey, privKey }) => ({ pubKey: hex(pubKey), privKey: hex(privKey) });
const unpair = ({ pubKey, privKey }) => ({ pubKey: unhex(pubKey), privKey: unhex(privKey) });

/** One device. Its durable data is text and numbers only. */
class Party {
  constructor(durable) {
    this.durable = durable;
    /** What can be counted in the session record of an address; made anew when it may have changed. */
    this.counts = new Map();
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

  static async install({ name, deviceId, trustOnFirstUse, identity, registrationId }) {
    return new Party({
      name,
      deviceId,
      trustOnFirstUse,
      identity: pair(identity ?? (await signal.KeyHelper.generateIdentityKeyPair())),
      registrationId: registrationId ?? signal.KeyHelper.generateRegistrationId(),
      nextPreKeyId: 1,
      preKeys: {},
      signedPreKeys: {},
      pins: {},
      sessions: {},
    });
  }

  get address() {
    return new signal.SignalProtocolAddress(this.durable.name, this.durable.deviceId);
  }

  // The methods that the peer calls; all answer with promises, as its types ask. A crash can strike before each of them.

  call() {
    if (this.journal !== undefined && this.journal.length <= this.crashAt) this.journal.push(JSON.stringify(this.durable));
  }

  async getIdentityKeyPair() {
    this.call();
    return unpair(this.durable.identity);
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
    this.durable.sessions[at] = record;
    // The peer stores a session only after what carried the identity was accepted: now it is pinned.
    const name = nameOf(at);
    if (this.asked.has(name)) this.durable.pins[name] = this.asked.get(name);
    this.stored = true;
    this.touch(at);
  }

  /** Asked with the name, without device. */
  async isTrustedIdentity(name, key) {
    this.call();
    const pin = this.durable.pins[name];
    if (pin !== undefined) return pin === hex(key);
    if (!this.durable.trustOnFirstUse) return false;
    this.asked.set(name, hex(key));
    return true;
  }

  /** Called before a first message is authenticated, and with keys that were not trusted: the pin is set elsewhere. */
  async saveIdentity() {
    this.call();
    return false;
  }

  async loadPreKey(id) {
    this.call();
    const found = this.durable.preKeys[id];
    return found && unpair(found);
  }

  async removePreKey(id) {
    this.call();
    delete this.durable.preKeys[id];
    this.touch();
  }

  async loadSignedPreKey(id) {
    this.call();
    const found = this.durable.signedPreKeys[id];
    return found && unpair(found);
  }

  // What the application does.

  async bundle(oneTime) {
    const durable = this.durable;
    if (durable.signedPreKeys[1] === undefined) {
      const { keyPair, signature } = await signal.KeyHelper.generateSignedPreKey(unpair(durable.identity), 1);
      durable.signedPreKeys[1] = { ...pair(keyPair), signature: hex(signature) };
    }
    let preKey = null;
    if (oneTime) {
      preKey = await signal.KeyHelper.generatePreKey(durable.nextPreKeyId++);
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
      prekey: preKey && hex(preKey.keyPair.pubKey),
    };
  }

  /** Sessions held for an address. */
  sessionsWith(address) {
    const text = this.durable.sessions[address.toString()];
    return text === undefined ? 0 : Object.keys(JSON.parse(text).sessions).length;
  }

  approve(name, key) {
    this.durable.pins[name] = key;
    this.touch();
  }

  /** The durable data changed, or the session record of an address. */
  touch(at) {
    this.digest = undefined;
    if (at !== undefined) this.counts.delete(at);
  }

  observe() {
    for (const [at, text] of Object.entries(this.durable.sessions)) {
      if (!this.counts.has(at)) this.counts.set(at, count(JSON.parse(text)));
    }
    // Keys that are numbers come sorted, the others are never deleted.
    this.digest ??= crypto.createHash('sha256').update(JSON.stringify(this.durable)).digest('hex');
    const most = (field) => Math.max(0, ...[...this.counts.values()].map((counts) => counts[field]));
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

/** The name in "name.device". */
const nameOf = (address) => address.slice(0, address.lastIndexOf('.'));

/** In a serialised record, the type of a chain that receives. */
const RECEIVING = 2;

/** What can be counted in one session record. */
function count(record) {
  const counts = { closed: 0, chains: 0, keptChain: 0, keptSession: 0 };
  for (const session of Object.values(record.sessions)) {
    let chains = 0;
    let kept = 0;
    if (session.indexInfo.closed !== -1) counts.closed += 1;
    for (const chain of Object.values(session.chains)) {
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
  const [, code] = CODES.find(([pattern]) => pattern.test(error.message)) ?? [];
  return code === undefined || (sessions > 1 && OF_ONE_SESSION.has(code)) ? 'unknown' : code;
}

// -- verbs ------------------------------------------------------------------------------------------------------------

class BadParams extends Error {}

const parties = new Map();

/** The peer refused: everything it throws is a refusal, for it has no other way to say so. */
class PeerRefused extends Error {
  constructor(cause, sessions) {
    super();
    this.cause = cause;
    this.code = refusal(cause, sessions);
  }
}

/** Ask the peer; `sessions` may be tried for that, one after the other. */
async function ask(call, sessions = 1) {
  try {
    return await call();
  } catch (error) {
    throw new PeerRefused(error instanceof Error ? error : new Error(String(error)), sessions);
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
  return unhex(text);
}

function privateKey(params, field) {
  const key = bytes(params, field);
  if (key.byteLength !== 32) throw new BadParams(`${field}: expected 32 bytes`);
  return key;
}

function party(params, field = 'party') {
  const found = parties.get(need(params, field, 'int'));
  if (found === undefined) throw new BadParams(`${field}: no such party`);
  return found;
}

/** Names become keys of plain objects here. */
function nameFrom(params) {
  const name = need(params, 'name', 'string');
  if (name === '' || name in {}) throw new BadParams('name: it may be neither empty nor that of a property of objects');
  return name;
}

/** The pair of a private key, by the peer's public curve. */
async function pairOf(privKey) {
  const { Curve } = await signal.default();
  return Curve.async.createKeyPair(privKey);
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

  reset(params) {
    stream = seeded(need(params, 'seed', 'int'));
    parties.clear();
    injected = [];
    now = EPOCH;
    return {};
  },

  async create(params) {
    const id = need(params, 'party', 'int');
    const name = nameFrom(params);
    const deviceId = need(params, 'device_id', 'int');
    const made = await Party.install({ name, deviceId, trustOnFirstUse: need(params, 'trust_on_first_use', 'boolean') });
    parties.set(id, made);
    return { identity_key: made.durable.identity.pubKey };
  },

  async reinstall(params) {
    const { name, deviceId, trustOnFirstUse } = party(params).durable;
    const made = await Party.install({ name, deviceId, trustOnFirstUse });
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
    if (params.kind !== 'prekey' && params.kind !== 'signal') throw new BadParams('kind: expected prekey or signal');
    // The session of a prekey message is named by its base key.
    const plaintext = params.kind === 'prekey'
      ? await ask(() => cipher.decryptPreKeyWhisperMessage(data))
      : await ask(() => cipher.decryptWhisperMessage(data), party(params).sessionsWith(from));
    return { plaintext: hex(plaintext) };
  },

  approve(params) {
    bytes(params, 'identity_key');
    party(params).approve(party(params, 'peer').durable.name, params.identity_key);
    return {};
  },

  async import_party(params) {
    const id = need(params, 'party', 'int');
    const made = await Party.install({
      name: nameFrom(params),
      deviceId: need(params, 'device_id', 'int'),
      trustOnFirstUse: need(params, 'trust_on_first_use', 'boolean'),
      identity: await pairOf(privateKey(params, 'identity')),
      registrationId: need(params, 'registration_id', 'int'),
    });
    parties.set(id, made);
    return { identity_key: made.durable.identity.pubKey };
  },

  async import_signed_prekey(params) {
    const made = pair(await pairOf(privateKey(params, 'private')));
    bytes(params, 'signature');
    const into = party(params);
    into.durable.signedPreKeys[need(params, 'id', 'int')] = { ...made, signature: params.signature };
    into.touch();
    return { public_key: made.pubKey };
  },

  async import_prekey(params) {
    const made = pair(await pairOf(privateKey(params, 'private')));
    const into = party(params);
    into.durable.preKeys[need(params, 'id', 'int')] = made;
    into.touch();
    return { public_key: made.pubKey };
  },

  inject_keys(params) {
    party(params);
    const given = params.private;
    if (!Array.isArray(given)) throw new BadParams('private: expected a list');
    injected = given.map((key) => new Uint8Array(privateKey({ key }, 'key')));
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
    if (at > HANDED_OUT) throw new BadParams('at: there is no such crash point');
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
    const text = error.cause.message || error.cause.name;
    return { id, error: { code: -32000, message: text, data: { refusal: error.code, ...state() } } };
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
