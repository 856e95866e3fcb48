'use strict';
// KEY-06: no secret appears in logs. (Outside the families judged by the gate today; seen while driving the peer.)
// Closing a session prints the session object with its root key, chain keys and ratchet private key.
// Attacker: whoever reads the application's logs.
const { acquainted, finding, logged } = require('./lib');

finding('KEY-06', 'session secrets are written to the console', async () => {
  const [alice, bob] = await acquainted();
  const [session] = Object.values(bob.record(alice)._sessions);
  const hex = (text) => Buffer.from(text, 'base64').toString('hex').match(/../g).join(' ');
  const secrets = { 'root key': session.currentRatchet.rootKey, 'ratchet private key': session.currentRatchet.ephemeralKeyPair.privKey };
  logged.length = 0;
  await alice.establish(bob, bob.bundle());
  await bob.decrypt(alice, await alice.encrypt(bob, 'new session'));
  return Object.entries(secrets).map(([what, secret]) => [
    `the ${what} of the closed session is in the console output`,
    logged.some((line) => line.includes(hex(secret))),
  ]);
});
