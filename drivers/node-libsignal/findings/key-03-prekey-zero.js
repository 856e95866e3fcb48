'use strict';
// KEY-03, IDC-09: a used one-time prekey is gone; absent is not zero.
// Prekey id 0 is legal on the wire and generatePreKey(0) makes it, but it is read as "none": it is used and never removed.
// Attacker: whoever recorded the message (the replay, once the session record is lost). Only where id 0 was handed out.
const { Device, finding, libsignal, outcome } = require('./lib');

finding('KEY-03', 'the one-time prekey with id 0 is used and never removed', async () => {
  const [alice, carol, bob] = [new Device('alice'), new Device('carol'), new Device('bob')];
  const bundle = bob.bundle({ oneTime: true, id: 0 });
  await alice.establish(bob, bundle);
  await carol.establish(bob, bundle);
  const message = await alice.encrypt(bob, 'hello');
  const used = await outcome(bob.decrypt(alice, message));
  const again = await outcome(bob.decrypt(carol, await carol.encrypt(bob, 'hello')));
  bob.sessions.delete('alice.1');
  const replayed = await outcome(bob.decrypt(alice, message));

  const dave = new Device('dave'); // he got a bundle without a one-time prekey
  await dave.establish(bob, bob.bundle());
  const without = await outcome(bob.decrypt(dave, await dave.encrypt(bob, 'hello')));
  return [
    ['generatePreKey(0) is not refused, and its prekey makes a session', used.ok && libsignal.keyhelper.generatePreKey(0).keyId === 0],
    ['the prekey is still there, and makes a second session with another peer', bob.preKeys.has(0) && again.ok],
    ['the same message is delivered again after the record was lost', replayed.ok],
    ['a first message without a one-time prekey can no longer be read', !without.ok],
  ];
});
