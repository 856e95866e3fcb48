'use strict';
// ATM-01, KEY-03: after a crash the store holds exactly the state before or exactly the state after; session and prekey
// never disagree. Here the session is stored first and the prekey removed by a second call: between them a crash leaves
// both, the plaintext is lost with the call, and the prekey serves a second session.
// Attacker: none is needed for the loss; a server that hands the prekey out again for the second session.
const { Device, devices, finding, outcome } = require('./lib');

finding('ATM-01', 'a crash between session and prekey leaves both, and loses the message', async () => {
  const [alice, carol, bob] = await devices('alice', 'carol', 'bob');
  const bundle = await bob.bundle({ oneTime: true });
  await alice.establish(bob, bundle);
  await carol.establish(bob, bundle);
  const message = await alice.encrypt(bob, 'hello');

  const { removePreKey } = Device.prototype;
  bob.removePreKey = async () => { throw new Error('the process ends here'); };
  const crashed = await outcome(bob.decrypt(alice, message));
  bob.removePreKey = removePreKey; // and starts again from what it stored
  const stored = bob.sessions.has('alice.1') && bob.preKeys.has(1);
  const again = await outcome(bob.decrypt(alice, message));
  const next = await outcome(bob.decrypt(alice, await alice.encrypt(bob, 'next')));
  const kept = bob.preKeys.has(1);
  const second = await outcome(bob.decrypt(carol, await carol.encrypt(bob, 'hello')));
  return [
    ['after the crash there are both the session and its prekey', crashed.error?.message === 'the process ends here' && stored],
    ['the message is refused when it is delivered again: it is lost', !again.ok],
    ['the next one is read, and the prekey stays', next.value === 'next' && kept],
    ['the prekey makes a second session', second.ok],
  ];
});
