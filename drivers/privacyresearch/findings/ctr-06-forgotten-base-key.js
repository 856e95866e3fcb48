'use strict';
// CTR-03, CTR-06: a replayed prekey message is refused, also after the session record was lost: its base key is
// remembered. Here a base key is known per address, and as long as its session is kept, which is 40 sessions.
// Attacker: whoever recorded a prekey message made without a one-time prekey, after 40 more sessions or a lost record;
// or at once, under another name.
const { devices, finding, outcome } = require('./lib');

finding('CTR-06', 'a prekey message is delivered again once its session was dropped', async () => {
  const [alice, bob] = await devices('alice', 'bob');
  await alice.establish(bob, bob.bundle());
  const recorded = await alice.encrypt(bob, 'pay 10');
  await bob.decrypt(alice, recorded);
  const early = await outcome(bob.decrypt(alice, recorded));
  for (let n = 0; n < 40; n += 1) {
    await alice.establish(bob, bob.bundle());
    await bob.decrypt(alice, await alice.encrypt(bob, `session ${n}`));
  }
  const late = await outcome(bob.decrypt(alice, recorded));
  const [carol, dave, erin] = await devices('carol', 'dave', 'erin');
  await carol.establish(dave, dave.bundle());
  const other = await carol.encrypt(dave, 'pay 20');
  await dave.decrypt(carol, other);
  dave.sessions.clear();
  const lost = await outcome(dave.decrypt(carol, other));
  const under = await outcome(dave.decrypt(erin, other));
  return [
    ['at first the copy is refused', !early.ok],
    ['after 40 more sessions it is delivered', late.value === 'pay 10'],
    ['after the session record was lost it is delivered', lost.value === 'pay 20'],
    ['under the name of somebody else it is delivered at once', under.value === 'pay 20'],
  ];
});
