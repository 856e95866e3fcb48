'use strict';
// GRP-03, GRP-01: a distribution of a chain that is gone is refused, and no message is read twice.
// Attacker: a member, or whoever may withhold and repeat what the sessions carry (the application hands it over). A chain
// that was pushed out by five newer ones is forgotten with all that was read on it: its distribution, which came before,
// brings it back as it was, and its messages are read again.
const { finding, outcome } = require('./lib');

finding('GRP-03', 'an old distribution brings back a chain that is gone, and its messages are read again', async ({ Device }) => {
  const [alice, bob] = [new Device('alice'), new Device('bob')];
  const first = await alice.give();
  await bob.take(alice, first);
  const message = await alice.send('pay 10');
  const seen = [['it is read', (await bob.read(alice, message)) === 'pay 10']];
  seen.push(['a second time it is refused', (await outcome(bob.read(alice, message))).refused !== undefined]);
  for (let n = 0; n < 5; n += 1) {
    alice.rotate();
    await bob.take(alice, await alice.give());
  }
  seen.push(['its chain is gone', /missing sender key state/.test((await outcome(bob.read(alice, message))).refused)]);
  await bob.take(alice, first);
  seen.push(['after the old distribution came again, it is read again', (await outcome(bob.read(alice, message))).value === 'pay 10']);
  return seen;
});
