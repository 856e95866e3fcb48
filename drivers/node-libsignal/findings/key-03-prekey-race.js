'use strict';
// KEY-03: a one-time prekey serves exactly one session, even when two messages that name it arrive at once.
// Only messages of one address wait for each other; the prekey is loaded first and removed last.
// Attacker: a server that hands the same one-time prekey to two clients.
const { Device, finding, outcome } = require('./lib');

finding('KEY-03', 'one one-time prekey makes two sessions when two messages arrive at once', async () => {
  const [alice, carol, bob] = [new Device('alice'), new Device('carol'), new Device('bob')];
  const bundle = bob.bundle({ oneTime: true });
  await alice.establish(bob, bundle);
  await carol.establish(bob, bundle);
  const [first, second] = [await alice.encrypt(bob, 'a'), await carol.encrypt(bob, 'c')];
  const both = await Promise.all([outcome(bob.decrypt(alice, first)), outcome(bob.decrypt(carol, second))]);

  const [dave, erin, frank] = [new Device('dave'), new Device('erin'), new Device('frank')];
  const other = frank.bundle({ oneTime: true });
  await dave.establish(frank, other);
  await erin.establish(frank, other);
  await frank.decrypt(dave, await dave.encrypt(frank, 'd'));
  const after = await outcome(frank.decrypt(erin, await erin.encrypt(frank, 'e')));
  return [
    ['two messages at once: both are accepted under prekey 1', both.every(({ ok }) => ok)],
    ['control, one after the other: the second is refused', !after.ok && after.text.includes('Invalid PreKey ID')],
  ];
});
