'use strict';
// IDC-07: a trust question is asked under one canonical name everywhere.
// It is asked under "name" when sending, for bundles and for normal messages, under "name.device" for prekey messages,
// and never with the direction that index.d.ts declares. A store that uses the identifier as it is given holds two pins.
// Attacker: whoever can deliver messages under a known name. With an identity of his own he is read as the pinned peer,
// and the true peer is cut off, because the impostor's session is now the open one. A store that takes the name out of
// the identifier is not affected.
const { Device, finding, libsignal, outcome } = require('./lib');

/** Trust on first use, keyed by the identifier as the peer gives it. */
class AsGiven extends Device {
  isTrustedIdentity(identifier, key, ...rest) {
    this.calls.push(`isTrustedIdentity(${[identifier, ...rest].join(', ')})`);
    const hex = Buffer.from(key).toString('hex');
    if (!this.pins.has(identifier)) this.pins.set(identifier, hex);
    return this.pins.get(identifier) === hex;
  }
}

finding('IDC-07', 'the same peer is asked about under two names', async () => {
  const [alice, bob, mallory] = [new Device('alice'), new AsGiven('bob'), new Device('alice')];
  await bob.establish(alice, alice.bundle());
  await alice.decrypt(bob, await bob.encrypt(alice, 'hello'));
  await bob.decrypt(alice, await alice.encrypt(bob, 'hello'));
  const names = () => [...new Set(bob.calls.filter((call) => call.startsWith('isTrusted')))].join(' ');
  const sending = names();

  // Mallory says that he is alice, with an identity of his own.
  bob.calls = [];
  await mallory.establish(bob, bob.bundle());
  const forged = await outcome(bob.decrypt(mallory, await mallory.encrypt(bob, 'I am alice')));
  const asked = names();
  const answer = await outcome(bob.encrypt(alice, 'to the true alice'));
  return [
    ['sending and normal messages ask about "alice"', sending === 'isTrustedIdentity(alice)'],
    ['prekey messages ask about "alice.1"', asked === 'isTrustedIdentity(alice.1)'],
    ['the pin of "alice" does not stop another identity of alice', forged.ok && forged.value === 'I am alice'],
    ['and nothing can be sent to the true alice any more', answer.error instanceof libsignal.UntrustedIdentityKeyError],
  ];
});
