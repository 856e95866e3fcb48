'use strict';
// CTR-03, CTR-06: a replayed prekey message delivers no second plaintext and creates no second session.
// Sessions are found by the base key as it is spelled, and one base key has several spellings with the same secrets:
// without the type byte, or with the unused top bit set. The outer message has no MAC, so anyone can respell it.
// Attacker: whoever recorded a prekey message made without a one-time prekey. He needs no key.
// (With a one-time prekey the copy is refused, because that is gone. It is part of the finding's control.)
const { Device, edit, finding, outcome, outer } = require('./lib');

const spellings = {
  'without the type byte': (key) => key.subarray(1),
  'with the top bit set': (key) => { const other = Buffer.from(key); other[32] |= 0x80; return other; },
};

finding('CTR-06', 'a prekey message with its base key respelled is delivered again', async () => {
  const seen = [];
  for (const [how, respell] of Object.entries(spellings)) {
    for (const oneTime of [false, true]) {
      const [alice, bob] = [new Device('alice'), new Device('bob')];
      await alice.establish(bob, bob.bundle({ oneTime }));
      const message = await alice.encrypt(bob, 'pay 10');
      await bob.decrypt(alice, message);
      await alice.decrypt(bob, await bob.encrypt(alice, 'done'));
      const same = await outcome(bob.decrypt(alice, message));
      const copy = edit(message, { baseKey: respell(outer(message, 'baseKey')) });
      const again = await outcome(bob.decrypt(alice, copy));
      if (oneTime) seen.push([`control, ${how}, with a one-time prekey: refused`, !same.ok && !again.ok]);
      else {
        const sessions = Object.keys(bob.record(alice)._sessions).length;
        seen.push([`${how}: the exact copy is refused`, !same.ok]);
        seen.push([`${how}: delivered a second time, and there are two sessions`, again.ok && again.value === 'pay 10' && sessions === 2]);
        const next = await outcome(alice.decrypt(bob, await bob.encrypt(alice, 'next')));
        seen.push([`${how}: what bob sends now is unreadable for alice`, !next.ok]);
      }
    }
  }
  return seen;
});
