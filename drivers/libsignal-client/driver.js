'use strict';
/*
 * A driver of Pawl's gate for npm @signalapp/libsignal-client 0.103.0, groups and fingerprints: newline-delimited JSON-RPC 2.0 on
 * stdin and stdout. The contract is in docs/reference/driver-contract.md; what this driver decides is in README.md
 * beside it. The peer is used through its public API only.
 */

const crypto = require('node:crypto');
const { version } = require('@signalapp/libsignal-client/package.json');

// Stdout carries answers only.
const tell = process.stdout.write.bind(process.stdout);
process.stdout.write = () => true;
for (const method of Object.keys(console)) if (typeof console[method] === 'function') console[method] = () => {};

/** The peer: an ES module, which is there once `main` has loaded it. */
let signal;

// -- a party and its store --------------------------------------------------------------------------------------------

/** One device. Its durable data is text and numbers only. */
class Party {
  constructor(durable) {
    this.durable = durable;
    this.digest = undefined;
    /** Whether the last operation stored something. */
    this.stored = false;
  }

  get address() {
    return signal.ProtocolAddress.new(this.durable.name, this.durable.deviceId);
  }

  /** Where the record of a sender's chains in a group is kept. */
  static place(sender, distributionId) {
    return `${sender.name()}.${sender.deviceId()} ${distributionId}`;
  }

  /** The two methods that the peer calls: a record is made anew from bytes each time. */
  get store() {
    const party = this;
    return new (class extends signal.SenderKeyStore {
      async saveSenderKey(sender, distributionId, record) {
        party.durable.senderKeys[Party.place(sender, distributionId)] = Buffer.from(record.serialize()).toString('hex');
        party.touch();
      }

      async getSenderKey(sender, distributionId) {
        const text = party.durable.senderKeys[Party.place(sender, distributionId)];
        return text === undefined ? null : signal.SenderKeyRecord.deserialize(Buffer.from(text, 'hex'));
      }
    })();
  }

  touch() {
    this.digest = undefined;
    this.stored = true;
  }

  records() {
    return Object.values(this.durable.senderKeys).map((text) => Buffer.from(text, 'hex'));
  }

  observe() {
    this.digest ??= crypto.createHash('sha256').update(JSON.stringify(this.durable)).digest('hex');
    let chains = 0;
    let kept = 0;
    for (const record of this.records()) {
      const states = fields(record).filter(([number]) => number === 1);
      chains = Math.max(chains, states.length);
      for (const [, state] of states) kept = Math.max(kept, fields(state).filter(([number]) => number === 4).length);
    }
    return { digest: this.digest, group_chains: chains, group_kept: kept, durable: this.stored };
  }

  /** Every byte string of 32 bytes in the records, at any depth. */
  secrets() {
    const found = new Set();
    const look = (data) => {
      if (data.length === SECRET_BYTES) found.add(data.toString('hex'));
      else for (const [, value] of fields(data) ?? []) if (Buffer.isBuffer(value)) look(value);
    };
    this.records().forEach(look);
    return [...found];
  }
}

const SECRET_BYTES = 32;

/** The fields of a protobuf of varints and byte strings, as pairs of number and value; null for other bytes. */
function fields(data) {
  const found = [];
  let at = 0;
  const varint = () => {
    for (let value = 0, factor = 1; at < data.length; factor *= 128) {
      const byte = data[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
    return NaN;
  };
  while (at < data.length) {
    const tag = varint();
    let value = varint();
    if (tag % 8 === 2) {
      const end = at + value;
      value = data.subarray(at, end);
      at = end;
    } else if (tag % 8 !== 0) return null;
    if (Number.isNaN(value) || at > data.length || !(tag >= 8)) return null;
    found.push([Math.floor(tag / 8), value]);
  }
  return found;
}

// -- refusals ---------------------------------------------------------------------------------------------------------

const CODES = [
  [/^missing sender key state for distribution ID /, 'no-sender-key'],
  [/^message with old counter /, 'duplicate-message'],
  [/message from too far into the future$/, 'too-far-ahead'],
  [/^invalid signature detected$/, 'invalid-signature'],
  [/^ciphertext version was (unrecognized|too old) /, 'unknown-version'],
  [/^(ciphertext serialized bytes were too short |protobuf encoding was invalid$)/, 'malformed-message'],
  [/decryption failed: /, 'invalid-ciphertext'],
  [/^(no key type identifier|bad key type |bad key length )/, 'invalid-key'],
];

/** Our code for what the peer threw; "unknown" where its text does not tell the cause. */
function refusal(error) {
  const found = CODES.find(([pattern]) => pattern.test(error.message));
  return found ? found[1] : 'unknown';
}

/** A refusal, for the text and code of which there is an answer. */
class Refusal extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

/** Everything that the peer throws is a refusal, for it has no other way to say so. */
async function ask(call) {
  try {
    return await call();
  } catch (error) {
    const thrown = error instanceof Error ? error : new Error(String(error));
    throw new Refusal(refusal(thrown), thrown.message || thrown.name);
  }
}

/** The application's part: the peer reads in whichever group the bytes name, and here one was asked for. */
function sameGroup(asked, named) {
  if (named !== asked) throw new Refusal('wrong-group', `it names the group ${named}`);
}

// -- verbs ------------------------------------------------------------------------------------------------------------

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
  return Buffer.from(text, 'hex');
}

/** A distribution id, as the peer spells it. */
function group(params) {
  const id = bytes(params, 'group');
  if (id.length !== 16) throw new BadParams('group: expected 16 bytes');
  return id.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function party(params, field = 'party') {
  const found = parties.get(need(params, field, 'int'));
  if (found === undefined) throw new BadParams(`${field}: no such party`);
  return found;
}

function install(name, deviceId) {
  const identity = Buffer.from(signal.PrivateKey.generate().serialize()).toString('hex');
  return new Party({ name, deviceId, identity, senderKeys: {} });
}

function identityOf(one) {
  const own = signal.PrivateKey.deserialize(Buffer.from(one.durable.identity, 'hex'));
  return { identity_key: Buffer.from(own.getPublicKey().serialize()).toString('hex') };
}

/** Hashes of one side of a fingerprint, and its version: what the contract asks for. */
const FINGERPRINT = { iterations: 5200, version: 2 };

const verbs = {
  hello: () => ({
    name: 'libsignal-client',
    version,
    protocol: 1,
    // Its sessions are of message version 4, which the gate does not judge.
    message_versions: [],
    level: 2,
    capabilities: ['groups', 'group-rotate', 'restart', 'reinstall', 'fingerprint'],
    group_layout: 'current',
    limits: {
      forward_jump: 25000,
      kept_per_chain: 2000,
      kept_per_session: null,
      receiving_chains: null,
      archived_sessions: null,
      derivations_per_message: null,
      sender_chains: 5,
    },
    profile: { promotes: 'on-new-chain', closes_chains: false },
  }),

  reset(params) {
    need(params, 'seed', 'int');
    parties.clear();
    return {};
  },

  create(params) {
    const id = need(params, 'party', 'int');
    need(params, 'trust_on_first_use', 'boolean');
    parties.set(id, install(need(params, 'name', 'string'), need(params, 'device_id', 'int')));
    return identityOf(party(params));
  },

  reinstall(params) {
    const { name, deviceId } = party(params).durable;
    parties.set(params.party, install(name, deviceId));
    return identityOf(party(params));
  },

  restart(params) {
    // Through text and back: nothing but what is durable survives.
    parties.set(params.party, new Party(JSON.parse(JSON.stringify(party(params).durable))));
    return {};
  },

  async fingerprint(params) {
    const [own, peer] = [party(params), party(params, 'peer')];
    const [local, remote] = [identityOf(own).identity_key, bytes(params, 'identity_key')];
    const key = (data) => signal.PublicKey.deserialize(data);
    const id = (one) => Buffer.from(one.durable.name, 'utf8');
    const { iterations, version } = FINGERPRINT;
    const made = await ask(() =>
      signal.Fingerprint.new(iterations, version, id(own), key(Buffer.from(local, 'hex')), id(peer), key(remote)));
    return {
      displayable: made.displayableFingerprint().toString(),
      scannable: Buffer.from(made.scannableFingerprint().toBuffer()).toString('hex'),
    };
  },

  async group_create(params) {
    const { address, store } = party(params);
    const asked = group(params);
    const made = await ask(() => signal.SenderKeyDistributionMessage.create(address, asked, store));
    return { distribution: Buffer.from(made.serialize()).toString('hex') };
  },

  async group_join(params) {
    const { store } = party(params);
    const sender = party(params, 'sender').address;
    const asked = group(params);
    const data = bytes(params, 'distribution');
    const given = await ask(() => signal.SenderKeyDistributionMessage.deserialize(data));
    sameGroup(asked, await ask(() => given.distributionId()));
    await ask(() => signal.processSenderKeyDistributionMessage(sender, given, store));
    return {};
  },

  async group_encrypt(params) {
    const { address, store } = party(params);
    const asked = group(params);
    const plaintext = bytes(params, 'plaintext');
    const made = await ask(() => signal.groupEncrypt(address, asked, store, plaintext));
    return { data: Buffer.from(made.serialize()).toString('hex') };
  },

  async group_decrypt(params) {
    const { store } = party(params);
    const sender = party(params, 'sender').address;
    const asked = group(params);
    const data = bytes(params, 'data');
    const message = await ask(() => signal.SenderKeyMessage.deserialize(data));
    sameGroup(asked, await ask(() => message.distributionId()));
    const plaintext = await ask(() => signal.groupDecrypt(sender, store, data));
    return { plaintext: Buffer.from(plaintext).toString('hex') };
  },

  /** The peer begins a chain where its store holds none. */
  group_rotate(params) {
    const own = party(params);
    delete own.durable.senderKeys[Party.place(own.address, group(params))];
    own.touch();
    return verbs.group_create(params).then(() => ({}));
  },

  group_secrets(params) {
    return { secrets: party(params).secrets() };
  },

  observe(params) {
    return party(params).observe();
  },
};

/** Verbs that do not act: they change nothing, and what the last operation did stays to be seen. */
const QUIET = new Set(['hello', 'reset', 'observe', 'group_secrets']);

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
  if (!QUIET.has(method)) {
    const acts = parties.get(params.party);
    if (acts) acts.stored = false;
  }
  // What the operation left behind travels with its answer, so that looking at it costs no round trip.
  const state = () => (QUIET.has(method) ? {} : { state: { [params.party]: parties.get(params.party).observe() } });
  try {
    return { id, result: { ...(await verbs[method](params)), ...state() } };
  } catch (error) {
    if (error instanceof BadParams) return { id, error: { code: -32602, message: error.message } };
    if (!(error instanceof Refusal)) return { id, error: { code: -32603, message: String(error && error.message) } };
    return { id, error: { code: -32000, message: error.message, data: { refusal: error.code, ...state() } } };
  }
}

/** Characters of one request, as the contract has it; of a longer one nothing is kept. */
const MAX_LINE = 4 * 1024 * 1024;

const say = (response) => tell(JSON.stringify({ jsonrpc: '2.0', ...response }) + '\n');

/** One request at a time, in order. */
async function main() {
  signal = await import('@signalapp/libsignal-client');
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
