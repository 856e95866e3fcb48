'use strict';
/*
 * What the drivers in Node share: the driver contract, and a device whose durable data is text and numbers only.
 * Nothing but Node itself: each driver brings its peer. It comes first in a driver, before the peer is loaded.
 */

const crypto = require('node:crypto');

// -- quiet: stdout carries answers only -------------------------------------------------------------------------------

const tell = process.stdout.write.bind(process.stdout);
process.stdout.write = () => true;
for (const method of Object.keys(console)) if (typeof console[method] === 'function') console[method] = () => {};

// -- time: one operation a second -------------------------------------------------------------------------------------

/** For peers that order sessions by the clock: milliseconds would make that order a matter of luck. */
const clock = {
  start() {
    this.reset();
    Date.now = () => this.now;
  },
  reset() { this.now = 1_700_000_000_000; },
  tick() { this.now += 1000; },
};

// -- what the operation under way needs and causes --------------------------------------------------------------------

const underway = {
  /** Private keys that it draws, in order, in place of random ones. */
  injected: [],
  /** Chain steps and key derivations that it caused. */
  work: 0,
};

/** Count the input of an HMAC: a chain step is one over the byte 2; a derivation (HKDF) has one first block, its label
 *  followed by the byte 1. */
function countHmac(input) {
  const step = input.length === 1 && input[0] === 2;
  const block = input.length <= 32 && input[input.length - 1] === 1 && input.toString('latin1', 0, 7) === 'Whisper';
  if (step || block) underway.work += 1;
}

const hex = (data) => Buffer.from(data).toString('hex');
const unhex = (text) => Buffer.from(text, 'hex');

/** An X25519 private and public key in DER, before their 32 bytes. Source: RFC 8410. */
const PRIVATE_PREFIX = unhex('302e020100300506032b656e04220420');
const PUBLIC_PREFIX = unhex('302a300506032b656e032100');

const privateKeyOf = (key) => crypto.createPrivateKey({ key: Buffer.concat([PRIVATE_PREFIX, key]), format: 'der', type: 'pkcs8' });
const publicKeyOf = (key) => crypto.createPublicKey({ key: Buffer.concat([PUBLIC_PREFIX, key]), format: 'der', type: 'spki' });

/** The 32 bytes of the public key of a private one. */
const publicOf = (key) => crypto.createPublicKey(privateKeyOf(key)).export({ format: 'der', type: 'spki' }).subarray(-32);

// -- a device and its store -------------------------------------------------------------------------------------------

/** The crash point behind everything: all is stored, nothing was handed out. Smaller ones count the store's calls. */
const HANDED_OUT = 15;

/** One device. Its durable data is text and numbers only. */
class Party {
  constructor(durable) {
    this.durable = durable;
    this.digest = undefined;
    /** While a crash is armed: what was durable before each call of the store. */
    this.journal = undefined;
    this.crashAt = undefined;
    /** Of the last operation: whether it stored something, and the key derivations that it caused. */
    this.stored = false;
    this.work = 0;
  }

  /** Whether it can be told to crash. */
  get crashes() { return true; }

  /** An operation begins. */
  begin() {
    this.stored = false;
  }

  /** The peer calls the store: a crash can strike before. */
  call() {
    if (this.journal !== undefined && this.journal.length <= this.crashAt) this.journal.push(JSON.stringify(this.durable));
  }

  /** The durable data changed. */
  touch() {
    this.digest = undefined;
  }

  /** The user decided: the name is pinned to this key. */
  approve(name, key) {
    this.durable.pins[name] = key;
    this.touch();
  }

  /** What the store holds, as text: the same state has the same text. */
  text() {
    return JSON.stringify(this.durable);
  }

  /** What can be counted in what is stored. */
  counts() {
    return {};
  }

  observe() {
    this.digest ??= crypto.createHash('sha256').update(this.text()).digest('hex');
    return { digest: this.digest, ...this.counts(), durable: this.stored };
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

/** In a serialised record of the libraries that come from libsignal-protocol-javascript, the type of a chain that receives. */
const RECEIVING = 2;

/** What can be counted in a record of theirs: its sessions, and the chains of a session. */
function count(sessions, chainsOf) {
  const counts = { sessions: 0, chains: 0, kept_chain: 0, kept_session: 0 };
  for (const session of Object.values(sessions)) {
    let chains = 0;
    let kept = 0;
    if (session.indexInfo.closed !== -1) counts.sessions += 1;
    for (const chain of Object.values(chainsOf(session))) {
      const keys = Object.keys(chain.messageKeys).length;
      if (chain.chainType === RECEIVING) chains += 1;
      counts.kept_chain = Math.max(counts.kept_chain, keys);
      kept += keys;
    }
    counts.chains = Math.max(counts.chains, chains);
    counts.kept_session = Math.max(counts.kept_session, kept);
  }
  return counts;
}

/**
 * A device of a library that comes from libsignal-protocol-javascript. A driver adds the methods that its peer calls, and
 * `unpair` (a key pair of text as the peer wants it) and `countsOf` (what can be counted in a record).
 */
class JavaScriptParty extends Party {
  constructor(durable) {
    super(durable);
    /** Identities that the operation under way was told to trust; pinned when the peer stores a session. */
    this.asked = new Map();
    /** What is stored for an address, as text, and what can be counted in it; made anew when it may have changed. */
    this.seen = new Map();
  }

  /** What a new device begins with; the identity is a key pair of the peer. */
  static durable({ name, deviceId, trustOnFirstUse }, identity, registrationId) {
    return {
      name,
      deviceId,
      trustOnFirstUse,
      identity: JavaScriptParty.pair(identity),
      registrationId,
      nextPreKeyId: 1,
      preKeys: {},
      signedPreKeys: {},
      pins: {},
      sessions: {},
    };
  }

  /** A key pair of the peer as text. */
  static pair({ pubKey, privKey }) {
    return { pubKey: hex(pubKey), privKey: hex(privKey) };
  }

  get identityKey() { return this.durable.identity.pubKey; }

  begin() {
    super.begin();
    this.asked.clear();
  }

  /** The key pair of this number in a table. */
  pairAt(table, id) {
    this.call();
    const found = this.durable[table][id];
    return found && this.unpair(found);
  }

  /** Delete a one-time prekey. */
  spend(id) {
    this.call();
    delete this.durable.preKeys[id];
    this.touch();
  }

  /** Whether to trust a key under this name, which has one pin. */
  trusts(name, key) {
    this.call();
    const pin = this.durable.pins[name];
    if (pin !== undefined) return pin === hex(key);
    if (!this.durable.trustOnFirstUse) return false;
    this.asked.set(name, hex(key));
    return true;
  }

  /** Keep the record of an address, as text. */
  keep(at, name, record) {
    this.durable.sessions[at] = record;
    // The peer stores a session only after what carried the identity was accepted: now it is pinned.
    if (this.asked.has(name)) this.durable.pins[name] = this.asked.get(name);
    this.stored = true;
    this.touch(at);
  }

  /** The durable data changed, or what is stored for an address. */
  touch(at) {
    super.touch();
    if (at !== undefined) this.seen.delete(at);
  }

  /** What is given to others. `signed` and `fresh` are the peer's ways to make a signed prekey and a one-time prekey. */
  async offer(oneTime, signed, fresh) {
    const { pair } = JavaScriptParty;
    const { durable } = this;
    if (durable.signedPreKeys[1] === undefined) {
      const { keyPair, signature } = await signed(this.unpair(durable.identity), 1);
      durable.signedPreKeys[1] = { ...pair(keyPair), signature: hex(signature) };
    }
    let preKey = null;
    if (oneTime) {
      preKey = await fresh(durable.nextPreKeyId++);
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

  /** Addresses that something is stored for. */
  addresses() { return Object.keys(this.durable.sessions); }

  /** What is stored for one, as text. */
  textOf(at) { return this.durable.sessions[at]; }

  text() {
    this.look();
    return super.text();
  }

  /** Look at what may have changed. */
  look() {
    for (const at of this.addresses()) {
      if (this.seen.has(at)) continue;
      const text = this.textOf(at);
      this.seen.set(at, { text, counts: this.countsOf(JSON.parse(text)) });
    }
  }

  counts() {
    this.look();
    const all = [...this.seen.values()];
    const most = (field) => Math.max(0, ...all.map(({ counts }) => counts[field]));
    return {
      // Keys that are numbers come sorted, the others are never deleted.
      prekeys: Object.keys(this.durable.preKeys).map(Number),
      sessions: most('sessions'),
      chains: most('chains'),
      kept_chain: most('kept_chain'),
      kept_session: most('kept_session'),
      work: this.work,
    };
  }
}

// -- refusals ---------------------------------------------------------------------------------------------------------

/** A refusal, for the text and code of which there is an answer. */
class Refusal extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

/** The code of the first pattern that the peer's text matches; "unknown" where it does not tell the cause. */
const codeOf = (codes, error) => codes.find(([pattern]) => pattern.test(error.message))?.[1] ?? 'unknown';

/**
 * How the peer is asked: everything that it throws is a refusal, for it has no other way to say so. `refusal` gives our
 * code; it is told how many sessions may be tried, one after the other. `words` gives the text.
 */
const asking = (refusal, words = (error) => error.message || error.name) => async (call, sessions = 1) => {
  try {
    return await call();
  } catch (error) {
    const thrown = error instanceof Error ? error : new Error(String(error));
    throw new Refusal(refusal(thrown, sessions), words(thrown));
  }
};

// -- parameters -------------------------------------------------------------------------------------------------------

class BadParams extends Error {}

const parties = new Map();

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
  if (key.length !== 32) throw new BadParams(`${field}: expected 32 bytes`);
  return key;
}

function party(params, field = 'party') {
  const found = parties.get(need(params, field, 'int'));
  if (found === undefined) throw new BadParams(`${field}: no such party`);
  return found;
}

/** Names become keys of plain objects. */
function nameFrom(params) {
  const name = need(params, 'name', 'string');
  if (name === '' || name in {}) throw new BadParams('name: it may be neither empty nor that of a property of objects');
  return name;
}

/** "prekey" or "signal". */
function kindFrom(params) {
  if (params.kind !== 'prekey' && params.kind !== 'signal') throw new BadParams('kind: expected prekey or signal');
  return params.kind;
}

/** The bundle, in the form in which peers take it; `as` makes bytes what the peer wants. */
function bundleFrom(params, as = (data) => data) {
  const given = need(params, 'bundle', 'object') ?? {};
  const device = {
    registrationId: need(given, 'registration_id', 'int'),
    identityKey: as(bytes(given, 'identity_key')),
    signedPreKey: {
      keyId: need(given, 'signed_prekey_id', 'int'),
      publicKey: as(bytes(given, 'signed_prekey')),
      signature: as(bytes(given, 'signature')),
    },
  };
  if (given.prekey_id !== null) device.preKey = { keyId: need(given, 'prekey_id', 'int'), publicKey: as(bytes(given, 'prekey')) };
  return device;
}

/** What a device is created with; `named` reads its name. */
const deviceFrom = (params, named) => ({
  name: named(params),
  deviceId: need(params, 'device_id', 'int'),
  trustOnFirstUse: need(params, 'trust_on_first_use', 'boolean'),
});

/** The party of this number is the device that is being made. */
async function settle(number, making) {
  const made = await making;
  parties.set(number, made);
  return { identity_key: made.identityKey };
}

// -- verbs that are the same for several ------------------------------------------------------------------------------

/** Of every driver. `install` makes a new device, `named` reads its name, `reset` does what is this driver's in a fresh world. */
const worldVerbs = ({ install, named = nameFrom, reset = () => {} }) => ({
  reset(params) {
    const seed = need(params, 'seed', 'int');
    parties.clear();
    underway.injected = [];
    reset(seed);
    return {};
  },

  create: (params) => settle(need(params, 'party', 'int'), install(deviceFrom(params, named))),

  reinstall: (params) => settle(params.party, install(party(params).durable)),

  restart(params) {
    // Through text and back: nothing but what is durable survives.
    const former = party(params);
    parties.set(params.party, new former.constructor(JSON.parse(JSON.stringify(former.durable))));
    return {};
  },

  observe: (params) => party(params).observe(),
});

/** Of those that pin identities. */
const pinVerbs = {
  approve(params) {
    bytes(params, 'identity_key');
    party(params).approve(party(params, 'peer').durable.name, params.identity_key);
    return {};
  },
};

/** Of those that crash. */
const crashVerbs = {
  arm_crash(params) {
    const at = need(params, 'at', 'int');
    const armed = party(params);
    if (at > HANDED_OUT || !armed.crashes) throw new BadParams('at: there is no such crash point');
    armed.crashAt = at;
    armed.journal = [];
    return {};
  },

  disarm_crash: (params) => ({ armed: party(params).disarm() }),
};

/** Of those that take private keys. `install` takes an identity and a registration id too; `pairOf` makes the pair of a key. */
const importVerbs = ({ install, named = nameFrom, pairOf }) => ({
  async import_party(params) {
    const number = need(params, 'party', 'int');
    const identity = await pairOf(privateKey(params, 'identity'));
    return settle(number, install(deviceFrom(params, named), identity, need(params, 'registration_id', 'int')));
  },

  async import_signed_prekey(params) {
    const made = JavaScriptParty.pair(await pairOf(privateKey(params, 'private')));
    bytes(params, 'signature');
    const into = party(params);
    into.durable.signedPreKeys[need(params, 'id', 'int')] = { ...made, signature: params.signature };
    into.touch();
    return { public_key: made.pubKey };
  },

  async import_prekey(params) {
    const made = JavaScriptParty.pair(await pairOf(privateKey(params, 'private')));
    const into = party(params);
    into.durable.preKeys[need(params, 'id', 'int')] = made;
    into.touch();
    return { public_key: made.pubKey };
  },

  inject_keys(params) {
    party(params);
    const given = params.private;
    if (!Array.isArray(given)) throw new BadParams('private: expected a list');
    underway.injected = given.map((key) => privateKey({ key }, 'key'));
    return {};
  },
});

/** Verbs that do not act: they change nothing, and what the last operation did stays to be seen. */
const QUIET = new Set(['hello', 'reset', 'observe', 'group_secrets', 'arm_crash', 'disarm_crash', 'inject_keys']);
/** Verbs within which a crash can strike. */
const CRASHABLE = new Set(['establish', 'encrypt', 'decrypt']);

// -- JSON-RPC ---------------------------------------------------------------------------------------------------------

/** The answer to one request; `begin` is called before each verb. */
async function answer(line, verbs, begin) {
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
  clock.tick();
  begin();
  if (!QUIET.has(method)) {
    underway.work = 0;
    before?.begin();
  }
  // What the operation left behind travels with its answer, so that looking at it costs no round trip.
  const state = () => {
    if (QUIET.has(method)) return {};
    const after = parties.get(params.party);
    after.work = underway.work;
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
    if (!(error instanceof Refusal)) return { id, error: { code: -32603, message: String(error && error.message) } };
    const complete = crashed();
    if (complete !== undefined) return crash(complete);
    return { id, error: { code: -32000, message: error.message, data: { refusal: error.code, ...state() } } };
  } finally {
    // What was put in is for one operation.
    if (!QUIET.has(method)) underway.injected = [];
  }
}

/** Characters of one request, as the contract has it; of a longer one nothing is kept. */
const MAX_LINE = 4 * 1024 * 1024;

const say = (response) => tell(JSON.stringify({ jsonrpc: '2.0', ...response }) + '\n');

/** Answer one request at a time, in order. */
async function serve(verbs, begin = () => {}) {
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
      const isTooLong = length > MAX_LINE;
      say(isTooLong ? { id: null, error: { code: -32600, message: 'the line is too long' } } : await answer(pieces.join(''), verbs, begin));
      pieces = [];
      length = 0;
      keep(piece);
    }
  }
}

module.exports = {
  BadParams, JavaScriptParty, Party, Refusal, asking, bundleFrom, bytes, clock, codeOf, count, countHmac, crashVerbs, hex, importVerbs,
  kindFrom, need, parties, party, pinVerbs, privateKeyOf, publicKeyOf, publicOf, serve, underway, unhex, worldVerbs,
};
