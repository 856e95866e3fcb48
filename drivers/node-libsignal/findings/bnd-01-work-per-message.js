'use strict';
// BND-01: one message causes a bounded number of derivations over all candidate sessions together; counters are checked
// before any derivation. Here each session fills up to 2000 keys of its last chain and 2000 of the new one before the MAC
// is looked at, and every session of the address is tried.
// Attacker: anyone who can deliver bytes under the peer's name. He needs no key; the message has 70 bytes.
const nodeCrypto = require('node:crypto');
const { acquainted, encode, finding, libsignal, outcome } = require('./lib');

finding('BND-01', 'one forged message causes work in every kept session', async () => {
  const [alice, bob] = await acquainted();
  const seen = [];
  const forged = () => Buffer.concat([
    Buffer.from([0x33]),
    encode([[1, libsignal.curve.generateKeyPair().pubKey], [2, 1999], [3, 1999], [4, Buffer.alloc(16)]]),
    Buffer.alloc(8),
  ]);
  const work = async () => {
    const { createHmac } = nodeCrypto;
    let calls = 0;
    nodeCrypto.createHmac = (...args) => { calls += 1; return createHmac(...args); };
    const refused = await outcome(bob.decrypt(alice, { type: 1, body: forged() }));
    nodeCrypto.createHmac = createHmac;
    return { calls, refused: !refused.ok, sessions: Object.keys(bob.record(alice)._sessions).length };
  };
  const one = await work();
  for (let n = 0; n < 45; n += 1) {
    await alice.establish(bob, bob.bundle());
    await bob.decrypt(alice, await alice.encrypt(bob, 'new session'));
  }
  const many = await work();
  seen.push([`with ${one.sessions} session: ${one.calls} HMACs before the refusal`, one.refused && one.calls > 4000]);
  seen.push([`with ${many.sessions} sessions: ${many.calls} HMACs before the refusal`, many.refused && many.sessions === 40 && many.calls > 20 * one.calls]);
  return seen;
});
