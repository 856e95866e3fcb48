'use strict';
// PAR-04: the version byte received is the one authenticated, and the outer one equals the inner.
// The MAC is computed over a constant 0x33. Any byte with a high nibble of 3 or more and a low one of 3 or less passes.
// Attacker: anyone in transit; no key is needed. Today's effect is malleability: a downgrade could not be noticed.
const { acquainted, decode, devices, encode, finding, outcome } = require('./lib');

finding('PAR-04', 'the version byte is not authenticated', async () => {
  const seen = [];
  for (const version of [0x30, 0x43, 0xf0]) {
    const [alice, bob] = await acquainted();
    const { body } = await alice.encrypt(bob, 'hello');
    const changed = Buffer.concat([Buffer.from([version]), body.subarray(1)]);
    seen.push([`a message with version byte 0x${version.toString(16)} is accepted`, (await outcome(bob.decrypt(alice, { type: 1, body: changed }))).ok]);
  }
  for (const [outer, inner] of [[0x43, 0x33], [0x33, 0x43], [0xf1, 0x52]]) {
    const [alice, bob] = await devices('alice', 'bob');
    await alice.establish(bob, bob.bundle());
    const { body } = await alice.encrypt(bob, 'hello');
    const fields = decode(body.subarray(1)).map(([number, value]) =>
      number === 4 ? [number, Buffer.concat([Buffer.from([inner]), value.subarray(1)])] : [number, value]);
    const message = { type: 3, body: Buffer.concat([Buffer.from([outer]), encode(fields)]) };
    seen.push([`a prekey message 0x${outer.toString(16)} around 0x${inner.toString(16)} is accepted`, (await outcome(bob.decrypt(alice, message))).ok]);
  }
  return seen;
});
