'use strict';
// IDC-10: a callback that calls back into the library leaves the state whole.
// Jobs of one address wait for each other: a trust callback that asks whether there is a session waits for itself, and
// every later call for that address waits behind it, for ever.
// Attacker: none needed; any first message from a new peer triggers the callback of such an application.
const { Device, finding, libsignal, outcome } = require('./lib');

/** Before it decides it looks whether there is a session with the peer already. */
class Curious extends Device {
  async isTrustedIdentity(identifier, key) {
    await new libsignal.SessionCipher(this, new libsignal.ProtocolAddress(identifier.split('.')[0], 1)).hasOpenSession();
    return super.isTrustedIdentity(identifier, key);
  }
}
const within = (promise) => Promise.race([promise, new Promise((resolve) => { setTimeout(resolve, 300, 'still waiting'); })]);

finding('IDC-10', 'a trust callback that calls the library blocks that address for ever', async () => {
  const [alice, bob] = [new Device('alice'), new Curious('bob')];
  await alice.establish(bob, bob.bundle());
  const first = await within(outcome(bob.decrypt(alice, await alice.encrypt(bob, 'hello'))));
  // Another device of this process, with a well-behaved store, that talks to alice as well.
  const carol = new Device('carol');
  const later = await within(outcome(carol.establish(alice, alice.bundle())));
  return [
    ['the call does not end', first === 'still waiting'],
    ['nor does a later call for the same address, not even with another store', later === 'still waiting'],
  ];
});
