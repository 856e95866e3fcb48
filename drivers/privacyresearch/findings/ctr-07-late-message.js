'use strict';
// CTR-04, CTR-07, CTR-08: a message that its sender may send is read, and a late one never harms the current session.
// A message is tried on one session after the other. A session on which it fails has already made a ratchet step for the
// unknown ratchet key, and is stored that way as soon as another session decrypts the message.
// Attacker: whoever can delay one message until the peers have a new session. He needs no key. It also happens without
// an attacker, when both sides start a session at the same time.
const { acquainted, devices, finding, outcome } = require('./lib');

finding('CTR-07', 'a late message of an older session destroys the current one', async () => {
  const [alice, bob] = await acquainted();
  const late = await alice.encrypt(bob, 'late');
  await alice.establish(bob, bob.bundle({ oneTime: true }));
  await bob.decrypt(alice, await alice.encrypt(bob, 'new session'));
  await alice.decrypt(bob, await bob.encrypt(alice, 'works'));
  await bob.decrypt(alice, await alice.encrypt(bob, 'works'));
  const delivered = await outcome(bob.decrypt(alice, late));
  const forth = await outcome(bob.decrypt(alice, await alice.encrypt(bob, 'still there?')));

  // Both start at once: two messages each, of which the first ones arrive; one more each; then the rest.
  const [carol, dave] = await devices('carol', 'dave');
  await carol.establish(dave, dave.bundle({ oneTime: true }));
  await dave.establish(carol, carol.bundle({ oneTime: true }));
  const ours = [await carol.encrypt(dave, '1'), await carol.encrypt(dave, '2')];
  const theirs = [await dave.encrypt(carol, '1'), await dave.encrypt(carol, '2')];
  await dave.decrypt(carol, ours[0]);
  await carol.decrypt(dave, theirs[0]);
  const [forward, backward] = [await carol.encrypt(dave, '3'), await dave.encrypt(carol, '3')];
  await dave.decrypt(carol, forward);
  await carol.decrypt(dave, backward);
  const lost = [await outcome(dave.decrypt(carol, ours[1])), await outcome(carol.decrypt(dave, theirs[1]))];
  return [
    ['the late message itself is delivered', delivered.value === 'late'],
    ['then the current session no longer decrypts what the peer sends', !forth.ok],
    ['both start at once: what comes last cannot be read any more, for its chain was closed before', lost.some(({ text }) => /already closed/.test(text))],
  ];
});
