'use strict';
/*
 * What the findings share: a store of bytes, a group, and a malicious member, who writes distributions and messages of
 * its own. Only the peer's public API is used.
 */
const crypto = require('node:crypto');
const shared = require('../../findings_in_node');
const { encode } = require('../../protobuf_in_node');

const GROUP = '6d1f2a3c-9b47-4c0e-8a15-3f2e7d90b6a4';
const GROUP_BYTES = Buffer.from(GROUP.replaceAll('-', ''), 'hex');

// -- bytes -------------------------------------------------------------------------------------------------------------

/** The fields of a distribution; the caller puts them into bytes. */
const distribution = ({ chainId = 7, iteration = 0, chainKey = Buffer.alloc(32, 1), signingKey }) => [
  [1, GROUP_BYTES], [2, chainId], [3, iteration], [4, chainKey], [5, signingKey]];

const framed = (body, version = 0x33) => Buffer.concat([Buffer.from([version]), body]);

// -- a chain, from its key ---------------------------------------------------------------------------------------------

const hmac = (key, ...data) => crypto.createHmac('sha256', key).update(Buffer.concat(data)).digest();

/** The ciphertext of the message `ahead` steps behind a chain key. */
function ciphertext(chainKey, ahead, text) {
  let key = chainKey;
  for (let n = 0; n < ahead; n += 1) key = hmac(key, Buffer.from([2]));
  const keys = Buffer.from(crypto.hkdfSync('sha256', hmac(key, Buffer.from([1])), Buffer.alloc(32), 'WhisperGroup', 48));
  const cipher = crypto.createCipheriv('aes-256-cbc', keys.subarray(16), keys.subarray(0, 16));
  return Buffer.concat([cipher.update(text), cipher.final()]);
}

// -- the application ---------------------------------------------------------------------------------------------------

/** One device, with a store that keeps bytes. Its sender is named by whoever hands something over. */
function deviceOf(signal) {
  return class Device extends signal.SenderKeyStore {
    records = new Map();

    constructor(name) {
      super();
      this.address = signal.ProtocolAddress.new(name, 1);
    }

    async saveSenderKey(sender, id, record) { this.records.set(`${sender} ${id}`, record.serialize()); }

    async getSenderKey(sender, id) {
      const data = this.records.get(`${sender} ${id}`);
      return data === undefined ? null : signal.SenderKeyRecord.deserialize(data);
    }

    async give() {
      return Buffer.from((await signal.SenderKeyDistributionMessage.create(this.address, GROUP, this)).serialize());
    }

    /** As it is done where a member left: the peer begins a chain where its store holds none. */
    rotate() { this.records.delete(`${this.address} ${GROUP}`); }

    async take(sender, data) {
      const given = signal.SenderKeyDistributionMessage.deserialize(data);
      await signal.processSenderKeyDistributionMessage(sender.address, given, this);
    }

    async send(text) {
      return Buffer.from((await signal.groupEncrypt(this.address, GROUP, this, Buffer.from(text))).serialize());
    }

    async read(sender, data) {
      return Buffer.from(await signal.groupDecrypt(sender.address, this, data)).toString();
    }
  };
}

/** Run a finding; `find` is given the peer too, an ES module. */
function finding(id, title, find) {
  shared.finding(id, title, async () => {
    const signal = await import('@signalapp/libsignal-client');
    return find({ signal, Device: deviceOf(signal) });
  });
}

module.exports = { ...shared, GROUP, GROUP_BYTES, ciphertext, distribution, encode, finding, framed };
