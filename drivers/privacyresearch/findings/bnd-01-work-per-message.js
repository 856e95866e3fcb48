'use strict';
// BND-01: one message causes a bounded number of derivations over all candidate sessions together; counters are checked
// before any derivation. Here each session fills up to 2000 keys of its last chain and 2000 of the new one before the MAC
// is looked at, and every session of the address is tried.
// Attacker: anyone who can deliver bytes under the peer's name. He needs no key; the message has 70 bytes.
const { acquainted, counted, encode, finding, outcome, signal } = require('./lib');

const count = counted();

finding('BND-01', 'one forged message causes work in every kept session', async () => {
  const [alice, bob] = await acquainted();
  const work = async () => {
    const { pubKey } = await signal.KeyHelper.generateIdentityKeyPair();
    const fields = encode([[1, Buffer.from(pubKey)], [2, 1999], [3, 1999], [4, Buffer.alloc(16)]]);
    const forged = Buffer.concat([Buffer.from([0x33]), fields, Buffer.alloc(8)]);
    count.calls = 0;
    const refused = await outcome(bob.decrypt(alice, { type: 1, body: forged }));
    return { calls: count.calls, refused: !refused.ok, sessions: Object.keys(bob.record(alice).sessions).length };
  };
  const one = await work();
  for (let n = 0; n < 20; n += 1) {
    await alice.establish(bob, bob.bundle());
    await bob.decrypt(alice, await alice.encrypt(bob, 'new session'));
  }
  const many = await work();
  return [
    [`with ${one.sessions} session: ${one.calls} HMACs before the refusal`, one.refused && one.calls > 4000],
    [`with ${many.sessions} sessions: ${many.calls} HMACs before the refusal`, many.refused && many.sessions === 21 && many.calls > 15 * one.calls],
  ];
});
