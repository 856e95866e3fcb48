'use strict';
// PAR-04: the version byte received is the one authenticated, and the outer one equals the inner.
// The outer version byte of a prekey message is not compared with the inner one, and nothing authenticates it. The inner
// one is under the MAC. Attacker: anyone in transit; today's effect is one more spelling of the same message.
const { finding, outcome } = require('./lib');

finding('PAR-04', 'the outer version byte may be another one', async ({ pair }) => {
  const seen = [];
  for (const version of [0x33, 0x30, 0x3f]) {
    const [alice, bob] = pair();
    const { prekey, data } = await alice.send(bob, 'hello');
    const changed = { prekey, data: Buffer.concat([Buffer.from([version]), data.subarray(1)]) };
    seen.push([`0x${version.toString(16)} around 0x34 is read`, (await outcome(bob.read(alice, changed))).value === 'hello']);
  }
  const [alice, bob] = pair();
  await bob.read(alice, await alice.send(bob, 'hello'));
  const { prekey, data } = await bob.send(alice, 'hello');
  const inner = await outcome(alice.read(bob, { prekey, data: Buffer.concat([Buffer.from([0x33]), data.subarray(1)]) }));
  seen.push([`control: the inner one is under the MAC (${inner.refused})`, inner.refused !== undefined]);
  return seen;
});
