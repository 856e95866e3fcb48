'use strict';
/*
 * A driver of Pawl's gate for npm @signalapp/libsignal-client 0.103.0, groups and fingerprints: newline-delimited JSON-RPC 2.0 on
 * stdin and stdout. The contract is in docs/reference/driver-contract.md; what this driver decides is in README.md
 * beside it. The peer is used through its public API only.
 */

const shared = require('../in_node.js');
const { fields } = require('../protobuf_in_node.js');
const { version } = require('@signalapp/libsignal-client/package.json');

const { Refusal, bytes, hex, need, party, unhex } = shared;

/** The peer: an ES module, which is there once it has been loaded. */
let signal;

// -- a party and its store --------------------------------------------------------------------------------------------

/** One device. Its durable data is text and numbers only. */
class Party extends shared.Party {
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
        party.durable.senderKeys[Party.place(sender, distributionId)] = hex(record.serialize());
        party.touch();
      }

      async getSenderKey(sender, distributionId) {
        const text = party.durable.senderKeys[Party.place(sender, distributionId)];
        return text === undefined ? null : signal.SenderKeyRecord.deserialize(unhex(text));
      }
    })();
  }

  touch() {
    super.touch();
    this.stored = true;
  }

  get identityKey() {
    return hex(signal.PrivateKey.deserialize(unhex(this.durable.identity)).getPublicKey().serialize());
  }

  records() {
    return Object.values(this.durable.senderKeys).map(unhex);
  }

  counts() {
    let chains = 0;
    let kept = 0;
    for (const record of this.records()) {
      const states = fields(record).filter(([number]) => number === 1);
      chains = Math.max(chains, states.length);
      for (const [, state] of states) kept = Math.max(kept, fields(state).filter(([number]) => number === 4).length);
    }
    return { group_chains: chains, group_kept: kept };
  }

  /** Every byte string of 32 bytes in the records, at any depth. */
  secrets() {
    const found = new Set();
    const look = (data) => {
      if (data.length === SECRET_BYTES) found.add(hex(data));
      else for (const [, value] of fields(data) ?? []) if (Buffer.isBuffer(value)) look(value);
    };
    this.records().forEach(look);
    return [...found];
  }
}

const SECRET_BYTES = 32;

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

const ask = shared.asking((error) => shared.codeOf(CODES, error));

/** The application's part: the peer reads in whichever group the bytes name, and here one was asked for. */
function sameGroup(asked, named) {
  if (named !== asked) throw new Refusal('wrong-group', `it names the group ${named}`);
}

// -- verbs ------------------------------------------------------------------------------------------------------------

/** A distribution id, as the peer spells it. */
function group(params) {
  const id = bytes(params, 'group');
  if (id.length !== 16) throw new shared.BadParams('group: expected 16 bytes');
  return hex(id).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

const install = ({ name, deviceId }) => new Party({ name, deviceId, identity: hex(signal.PrivateKey.generate().serialize()), senderKeys: {} });

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

  ...shared.worldVerbs({ install, named: (params) => need(params, 'name', 'string') }),

  async fingerprint(params) {
    const [own, peer] = [party(params), party(params, 'peer')];
    const remote = bytes(params, 'identity_key');
    const key = (data) => signal.PublicKey.deserialize(data);
    const id = (one) => Buffer.from(one.durable.name, 'utf8');
    const { iterations, version } = FINGERPRINT;
    const made = await ask(() =>
      signal.Fingerprint.new(iterations, version, id(own), key(unhex(own.identityKey)), id(peer), key(remote)));
    return {
      displayable: made.displayableFingerprint().toString(),
      scannable: hex(made.scannableFingerprint().toBuffer()),
    };
  },

  async group_create(params) {
    const { address, store } = party(params);
    const asked = group(params);
    const made = await ask(() => signal.SenderKeyDistributionMessage.create(address, asked, store));
    return { distribution: hex(made.serialize()) };
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
    return { data: hex(made.serialize()) };
  },

  async group_decrypt(params) {
    const { store } = party(params);
    const sender = party(params, 'sender').address;
    const asked = group(params);
    const data = bytes(params, 'data');
    const message = await ask(() => signal.SenderKeyMessage.deserialize(data));
    sameGroup(asked, await ask(() => message.distributionId()));
    const plaintext = await ask(() => signal.groupDecrypt(sender, store, data));
    return { plaintext: hex(plaintext) };
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
};

import('@signalapp/libsignal-client').then((peer) => {
  signal = peer;
  return shared.serve(verbs);
});
