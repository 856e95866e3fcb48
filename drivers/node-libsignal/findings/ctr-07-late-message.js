'use strict';
// CTR-07: a late message of an older session never harms the current one.
// A message is tried on one session after the other, the last used first. A session on which it fails has already made
// a ratchet step for the unknown ratchet key, and is stored that way as soon as another session decrypts the message.
// Attacker: whoever can delay one message until the peers have a new session. He needs no key. It also happens without
// an attacker, when both sides start a session at the same time.
const { Device, acquainted, decode, finding, outcome } = require('./lib');

finding('CTR-07', 'a late message of an older session destroys the current one', async () => {
  const [alice, bob] = await acquainted();
  const late = await alice.encrypt(bob, 'late');
  await alice.establish(bob, bob.bundle({ oneTime: true }));
  await bob.decrypt(alice, await alice.encrypt(bob, 'new session'));
  await alice.decrypt(bob, await bob.encrypt(alice, 'works'));
  await bob.decrypt(alice, await alice.encrypt(bob, 'works'));
  const delivered = await outcome(bob.decrypt(alice, late));
  const forth = await outcome(bob.decrypt(alice, await alice.encrypt(bob, 'still there?')));
  const back = await outcome(alice.decrypt(bob, await bob.encrypt(alice, 'still there?')));

  const header = (await bob.encrypt(alice, 'x')).body;
  const previous = decode(header.subarray(1, -8)).find(([number]) => number === 3)[1];

  // Both start at once, and each side's first message arrives.
  const [carol, dave] = [new Device('carol'), new Device('dave')];
  await carol.establish(dave, dave.bundle({ oneTime: true }));
  await dave.establish(carol, carol.bundle({ oneTime: true }));
  const [from, to] = [await carol.encrypt(dave, 'hi'), await dave.encrypt(carol, 'hi')];
  await dave.decrypt(carol, from);
  await carol.decrypt(dave, to);
  let lost = 0;
  for (let round = 0; round < 10; round += 1) {
    if (!(await outcome(dave.decrypt(carol, await carol.encrypt(dave, 'hi')))).ok) lost += 1;
    if (!(await outcome(carol.decrypt(dave, await dave.encrypt(carol, 'hi')))).ok) lost += 1;
  }
  return [
    ['the late message itself is delivered', delivered.ok],
    ['then the current session no longer decrypts what the peer sends', !forth.ok],
    ['nor does the peer decrypt what it sends', !back.ok],
    [`its messages carry the previous counter ${previous}: the uint32 of -1`, previous === 0xffffffff],
    [`both start at once: ${lost} of the next 20 messages cannot be read`, lost > 0],
  ];
});
