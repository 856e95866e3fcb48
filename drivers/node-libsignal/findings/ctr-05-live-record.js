'use strict';
// CTR-05: a refused message leaves the persisted and the in-memory state identical.
// The record that loadSession returned is changed before the message is authenticated. With a store that hands out the
// object it holds (a cache), one forged message ends the session. A store that serialises is not affected.
// Attacker: anyone who can deliver bytes under the peer's name. He needs no key.
const { Device, acquainted, encode, finding, libsignal, outcome } = require('./lib');

finding('CTR-05', 'a forged message changes the loaded session before it is refused', async () => {
  const [alice, bob] = await acquainted();
  const held = new Map();
  const { loadSession, storeSession } = Device.prototype;
  bob.loadSession = async (at) => held.get(at) ?? loadSession.call(bob, at);
  bob.storeSession = async (at, record) => { held.set(at, record); await storeSession.call(bob, at, record); };
  const works = await outcome(bob.decrypt(alice, await alice.encrypt(bob, 'one')));

  const serialise = () => JSON.stringify([...held.values()].map((record) => record.serialize()));
  const before = serialise();
  const forged = Buffer.concat([
    Buffer.from([0x33]),
    encode([[1, libsignal.curve.generateKeyPair().pubKey], [2, 0], [3, 0], [4, Buffer.alloc(16)]]),
    Buffer.alloc(8),
  ]);
  const refused = await outcome(bob.decrypt(alice, { type: 1, body: forged }));
  const after = await outcome(bob.decrypt(alice, await alice.encrypt(bob, 'two')));
  const back = await outcome(alice.decrypt(bob, await bob.encrypt(alice, 'three')));
  return [
    ['the forged message is refused, and the held record is another one', works.ok && !refused.ok && serialise() !== before],
    ["the peer's next message is refused", !after.ok],
    ['so is the answer', !back.ok],
  ];
});
