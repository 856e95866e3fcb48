#!/usr/bin/env node
'use strict';
/*
 * A driver for Pawl's gate, to copy and to change. It needs Node 18 or later and no package.
 *
 *     pawl driver check -- node driver.js
 *     pawl verify --driver 'node driver.js'
 *
 * What to change stands between the two lines of equals signs: there is a toy, so that this file runs as it is. The toy is
 * NOT the Signal protocol and not safe: one key for ever between two identities, no ratchet, a signature that nobody
 * checks. `pawl verify` says so: it finds what the toy lacks. The rest is the contract. The store is ephemeral: parties
 * live in this process alone and end with it; each is kept as text and made anew from it, so that what was changed and
 * not stored is gone, as it is in an application.
 */

const crypto = require('node:crypto');

// =====================================================================================================================
// The implementation that is judged, by its public API only. Here: a toy.

const HELLO = {
  name: 'toy-by-template',
  version: '0',
  protocol: 1,
  message_versions: [3],
  // 0: only what goes over the wire. 1: `observe` is asked too.
  level: 1,
  // What is declared is asked for. What your implementation cannot do is left out.
  capabilities: ['reinstall', 'approve', 'strict-identity', 'restart'],
  // What your documentation promises; null where it promises nothing.
  limits: {
    forward_jump: 2000,
    kept_per_chain: null,
    kept_per_session: null,
    receiving_chains: null,
    archived_sessions: null,
    derivations_per_message: null,
  },
  profile: { promotes: 'never', closes_chains: true },
};

/** The implementation refused. Map what tells the cause to a code of the contract, and let the rest be "unknown". */
class Refusal extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

const TYPE = Buffer.from([5]);
const PRIVATE = Buffer.from('302e020100300506032b656e04220420', 'hex');
const PUBLIC = Buffer.from('302a300506032b656e032100', 'hex');

function newPair() {
  const { publicKey, privateKey } = crypto.generateKeyPairSync('x25519');
  return {
    public: Buffer.concat([TYPE, publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)]).toString('hex'),
    private: privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(-32).toString('hex'),
  };
}

function agree(mine, theirs) {
  if (theirs.length !== 33 || theirs[0] !== 5) throw new Refusal('invalid-key', 'a public key has 33 bytes, the first is 5');
  const der = (prefix, key) => Buffer.concat([prefix, key]);
  try {
    return crypto.diffieHellman({
      privateKey: crypto.createPrivateKey({ key: der(PRIVATE, Buffer.from(mine, 'hex')), format: 'der', type: 'pkcs8' }),
      publicKey: crypto.createPublicKey({ key: der(PUBLIC, theirs.subarray(1)), format: 'der', type: 'spki' }),
    });
  } catch {
    throw new Refusal('invalid-key', 'the public key is of small order');
  }
}

/** The form of messages: version 3, as far as the gate needs it to tell counters and keys. */
const VERSION = Buffer.from([0x33]);
const mac = (key, body) => crypto.createHmac('sha256', key).update(body).digest().subarray(0, 8);
const nonce = (identity, counter) => crypto.createHash('sha256').update(identity).update(String(counter)).digest().subarray(0, 12);

function varint(value) {
  const out = [];
  for (; value > 127; value = Math.floor(value / 128)) out.push((value % 128) + 128);
  return Buffer.from([...out, value]);
}

/** Protobuf, with whole numbers and bytes alone. */
const write = (fields) =>
  Buffer.concat(
    fields.flatMap(([field, value]) =>
      Buffer.isBuffer(value) ? [varint(field * 8 + 2), varint(value.length), value] : [varint(field * 8), varint(value)],
    ),
  );

function read(data) {
  if (data[0] !== VERSION[0]) throw new Refusal('unknown-version', 'it is not of version 3');
  const fields = new Map();
  let at = 1;
  const number = () => {
    let value = 0;
    for (let power = 1; ; power *= 128) {
      if (at >= data.length || power > 2 ** 28) throw new Refusal('malformed-message', 'a number has no end');
      const byte = data[at++];
      value += (byte % 128) * power;
      if (byte < 128) return value;
    }
  };
  while (at < data.length) {
    const tag = number();
    if (tag % 8 === 0) fields.set(Math.floor(tag / 8), number());
    else if (tag % 8 === 2) {
      const length = number();
      if (at + length > data.length) throw new Refusal('malformed-message', 'a field goes on after the end');
      fields.set(Math.floor(tag / 8), data.subarray(at, at + length));
      at += length;
    } else throw new Refusal('malformed-message', 'a field is of another type');
  }
  return fields;
}

/** A device. `data` is all that it has, and becomes text. */
class Device {
  constructor(data) {
    this.data = data;
  }

  static install({ name, deviceId, trusts }) {
    const data = { name, deviceId, trusts, identity: newPair(), registrationId: 1 + crypto.randomInt(16380) };
    return new Device({ ...data, prekey: newPair(), oneTime: {}, next: 1, pins: {}, sessions: {} });
  }

  bundle(oneTime) {
    const { data } = this;
    const id = oneTime ? data.next++ : null;
    if (oneTime) data.oneTime[id] = newPair();
    return {
      registration_id: data.registrationId,
      device_id: data.deviceId,
      identity_key: data.identity.public,
      signed_prekey_id: 1,
      signed_prekey: data.prekey.public,
      // A toy: whoever takes this for a signature is easily fooled.
      signature: '00'.repeat(64),
      prekey_id: id,
      prekey: oneTime ? data.oneTime[id].public : null,
    };
  }

  /** Pin an identity, or refuse another one. */
  trust(name, key) {
    const pin = this.data.pins[name];
    if (pin !== undefined ? pin !== key : !this.data.trusts) throw new Refusal('untrusted-identity', 'it is not the pinned one');
    this.data.pins[name] = key;
  }

  start(name, identity, prekeyId = null) {
    const key = agree(this.data.identity.private, identity).toString('hex');
    this.trust(name, identity.toString('hex'));
    this.data.sessions[name] = { key, sent: 0, read: [], answered: false, prekeyId };
    return this.data.sessions[name];
  }

  seal(name, plaintext) {
    const session = this.data.sessions[name];
    if (session === undefined) throw new Refusal('no-session', `there is no session with ${name}`);
    const own = Buffer.from(this.data.identity.public, 'hex');
    const key = Buffer.from(session.key, 'hex');
    const counter = session.sent++;
    // Both sides use one key: the sender's own identity keeps their counters apart.
    const cipher = crypto.createCipheriv('aes-256-gcm', key, nonce(own, counter)).setAAD(own);
    const sealed = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
    const body = Buffer.concat([VERSION, write([[1, own], [2, counter], [3, 0], [4, sealed]])]);
    const message = Buffer.concat([body, mac(key, body)]);
    if (session.answered) return { kind: 'signal', data: message };
    const id = session.prekeyId === null ? [] : [[1, session.prekeyId]];
    const fields = [...id, [2, own], [3, own], [4, message], [5, this.data.registrationId], [6, 1]];
    return { kind: 'prekey', data: Buffer.concat([VERSION, write(fields)]) };
  }

  open(name, kind, data) {
    const outer = kind === 'prekey' ? read(data) : null;
    const message = outer ? outer.get(4) : data;
    if (!Buffer.isBuffer(message) || message.length < 9) throw new Refusal('malformed-message', 'there is no message in it');
    const body = message.subarray(0, -8);
    const inner = read(body);
    const [identity, counter, sealed] = [inner.get(1), inner.get(2), inner.get(4)];
    if (!Buffer.isBuffer(identity) || typeof counter !== 'number' || !Buffer.isBuffer(sealed) || sealed.length < 16) {
      throw new Refusal('malformed-message', 'a field is missing');
    }
    const known = this.data.sessions[name];
    if (known === undefined && kind === 'signal') throw new Refusal('no-session', `there is no session with ${name}`);
    const key = known ? Buffer.from(known.key, 'hex') : agree(this.data.identity.private, identity);
    if (!crypto.timingSafeEqual(mac(key, body), message.subarray(-8))) throw new Refusal('bad-mac', 'it is not authentic');
    let plaintext;
    try {
      const cipher = crypto.createDecipheriv('aes-256-gcm', key, nonce(identity, counter)).setAAD(identity);
      cipher.setAuthTag(sealed.subarray(-16));
      plaintext = Buffer.concat([cipher.update(sealed.subarray(0, -16)), cipher.final()]);
    } catch {
      throw new Refusal('bad-mac', 'it is not authentic');
    }
    // Only now, when it is known to be authentic, anything changes.
    if (known && known.read.includes(counter)) throw new Refusal('duplicate-message', 'it was read before');
    const session = known ?? this.start(name, identity);
    session.read.push(counter);
    session.answered = true;
    return plaintext;
  }

  digest() {
    return crypto.createHash('sha256').update(JSON.stringify(this.data)).digest('hex');
  }

  /** Through text and back: nothing but what is durable survives. */
  again() {
    return new Device(JSON.parse(JSON.stringify(this.data)));
  }
}

const parties = new Map();

const VERBS = {
  hello: () => HELLO,
  reset(params) {
    number(params, 'seed');
    parties.clear();
    return {};
  },
  create(params) {
    const made = Device.install({ name: text(params, 'name'), deviceId: number(params, 'device_id'), trusts: flag(params, 'trust_on_first_use') });
    parties.set(number(params, 'party'), made);
    return { identity_key: made.data.identity.public };
  },
  reinstall(params) {
    const made = Device.install(party(params).data);
    parties.set(params.party, made);
    return { identity_key: made.data.identity.public };
  },
  restart(params) {
    parties.set(params.party, party(params).again());
    return {};
  },
  bundle: (params) => party(params).bundle(flag(params, 'one_time')),
  establish(params) {
    const given = params.bundle;
    if (given === null || typeof given !== 'object') throw new BadParams('bundle: an object was expected');
    party(params).start(party(params, 'peer').data.name, bytes(given, 'identity_key'), given.prekey_id);
    return {};
  },
  encrypt(params) {
    const { kind, data } = party(params).seal(party(params, 'peer').data.name, bytes(params, 'plaintext'));
    return { kind, data: data.toString('hex') };
  },
  decrypt(params) {
    if (params.kind !== 'prekey' && params.kind !== 'signal') throw new BadParams('kind: prekey or signal was expected');
    const { name } = party(params, 'peer').data;
    return { plaintext: party(params).open(name, params.kind, bytes(params, 'data')).toString('hex') };
  },
  approve(params) {
    const key = bytes(params, 'identity_key').toString('hex');
    party(params).data.pins[party(params, 'peer').data.name] = key;
    return {};
  },
  observe: (params) => ({ digest: party(params).digest(), prekeys: Object.keys(party(params).data.oneTime).map(Number) }),
};

// =====================================================================================================================
// The contract: nothing below needs to change.

class BadParams extends Error {}

function need(params, name, good, what) {
  if (!good(params[name])) throw new BadParams(`${name}: ${what} was expected`);
  return params[name];
}
const number = (params, name) =>
  need(params, name, (value) => Number.isInteger(value) && value >= 0 && value <= 4294967295, 'a number from 0 to 2^32 - 1');
const flag = (params, name) => need(params, name, (value) => typeof value === 'boolean', 'true or false');
// Names become keys of objects here.
const text = (params, name) =>
  need(params, name, (value) => typeof value === 'string' && /^[A-Za-z0-9_-]+$/.test(value) && !(value in {}), 'a name');
const bytes = (params, name) =>
  Buffer.from(need(params, name, (value) => typeof value === 'string' && /^([0-9a-f]{2})*$/.test(value), 'lower-case hex'), 'hex');

function party(params, name = 'party') {
  const found = parties.get(params[name]);
  if (found === undefined) throw new BadParams(`${name}: no such party`);
  return found;
}

/** Verbs that change no party: their answers carry no state. */
const QUIET = new Set(['hello', 'reset', 'observe']);

/** What the party that acted holds now, which saves the gate a question. */
function state(method, params) {
  if (QUIET.has(method) || !parties.has(params.party)) return {};
  return { state: { [params.party]: VERBS.observe({ party: params.party }) } };
}

async function answer(line) {
  let request;
  try {
    request = JSON.parse(line);
  } catch {
    return { id: null, error: { code: -32700, message: 'not JSON' } };
  }
  const { id = null, method, params } = request ?? {};
  if (typeof method !== 'string' || params === null || typeof params !== 'object') {
    return { id, error: { code: -32600, message: 'not a request' } };
  }
  if (!Object.hasOwn(VERBS, method)) return { id, error: { code: -32601, message: 'no such verb' } };
  try {
    return { id, result: { ...(await VERBS[method](params)), ...state(method, params) } };
  } catch (error) {
    if (error instanceof Refusal) {
      return { id, error: { code: -32000, message: error.message, data: { refusal: error.code, ...state(method, params) } } };
    }
    if (error instanceof BadParams) return { id, error: { code: -32602, message: error.message } };
    // A fault of this driver: the gate stops at it, and that is right.
    return { id, error: { code: -32603, message: String(error?.message) } };
  }
}

/** One line, one answer, until stdin is closed. Nothing but answers goes to stdout. */
async function main() {
  const tell = process.stdout.write.bind(process.stdout);
  process.stdout.write = (...args) => process.stderr.write(...args);
  let rest = '';
  process.stdin.setEncoding('utf8');
  for await (const chunk of process.stdin) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop();
    for (const line of lines) tell(JSON.stringify({ jsonrpc: '2.0', ...(await answer(line)) }) + '\n');
  }
}

main();
