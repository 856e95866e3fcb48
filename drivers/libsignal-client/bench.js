'use strict';
// Time group messages of the official client, its public API alone: one sender, one receiver, messages in order. Prints
// one line of JSON, in microseconds for one message: {"encrypt_us": ..., "decrypt_us": ...}.
//
//     node bench.js [--messages 1000] [--size 256]
const { parseArgs } = require('node:util');

const usage = () => {
  process.stderr.write('usage: bench.js [--messages N] [--size BYTES], both whole numbers, the first at least 1\n');
  process.exit(2);
};

/** Messages before the clock starts, for the just-in-time compiler. */
const WARM = 200;

function options() {
  try {
    const { values } = parseArgs({ options: { messages: { type: 'string', default: '1000' }, size: { type: 'string', default: '256' } } });
    if (!/^[1-9]\d{0,8}$/.test(values.messages) || !/^\d{1,6}$/.test(values.size)) usage();
    return { messages: Number(values.messages), size: Number(values.size) };
  } catch {
    return usage();
  }
}

async function main() {
  const { messages, size } = options();
  const signal = await import('@signalapp/libsignal-client');

  /** Records at rest are bytes, as in any application that keeps them. */
  class Store extends signal.SenderKeyStore {
    records = new Map();
    async saveSenderKey(sender, id, record) { this.records.set(`${sender} ${id}`, record.serialize()); }
    async getSenderKey(sender, id) {
      const data = this.records.get(`${sender} ${id}`);
      return data === undefined ? null : signal.SenderKeyRecord.deserialize(data);
    }
  }

  const [alice, bob] = [new Store(), new Store()];
  const sender = signal.ProtocolAddress.new('alice', 1);
  const group = '6d1f2a3c-9b47-4c0e-8a15-3f2e7d90b6a4';
  const given = await signal.SenderKeyDistributionMessage.create(sender, group, alice);
  await signal.processSenderKeyDistributionMessage(sender, given, bob);
  const text = new Uint8Array(size).fill(97);

  const sent = [];
  const encrypt = async (count) => {
    for (let n = 0; n < count; n += 1) sent.push((await signal.groupEncrypt(sender, group, alice, text)).serialize());
  };
  const decrypt = async (from, to) => {
    for (let n = from; n < to; n += 1) {
      const read = await signal.groupDecrypt(sender, bob, sent[n]);
      if (read.length !== size) throw new Error('not the text that was sent');
    }
  };
  const timed = async (work) => {
    const start = process.hrtime.bigint();
    await work();
    return Number(process.hrtime.bigint() - start) / 1000 / messages;
  };

  await encrypt(WARM);
  await decrypt(0, WARM);
  const encrypt_us = await timed(() => encrypt(messages));
  const decrypt_us = await timed(() => decrypt(WARM, WARM + messages));
  const rounded = (number) => Number(number.toFixed(2));
  process.stdout.write(`${JSON.stringify({ encrypt_us: rounded(encrypt_us), decrypt_us: rounded(decrypt_us) })}\n`);
}

main();
