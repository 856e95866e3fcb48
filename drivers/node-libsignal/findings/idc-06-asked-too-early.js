'use strict';
// IDC-06: a received identity is pinned only after the message that carried it was authenticated.
// The trust question is the only callback that gets the identity key, and it comes before authentication: a store that
// pins a first use where it is asked (nothing else is offered; there is no "save identity" callback) pins junk.
// Attacker: anyone who can deliver bytes under a name that was not heard of before. He needs no key of anybody.
// A way round for applications: note the key when asked, pin it when a session is stored.
const { Device, edit, finding, libsignal, outcome } = require('./lib');

/** Pins in the callback, as the callback's name and signature suggest. */
class PinsWhenAsked extends Device {
  isTrustedIdentity(identifier, key) {
    const trusted = super.isTrustedIdentity(identifier, key);
    if (trusted) this.pins.set(identifier.split('.')[0], Buffer.from(key).toString('hex'));
    return trusted;
  }
}

finding('IDC-06', 'the trust question comes before authentication, and nothing is asked after it', async () => {
  const [alice, bob] = [new Device('alice'), new PinsWhenAsked('bob')];
  await alice.establish(bob, bob.bundle());
  const honest = await alice.encrypt(bob, 'hello');
  const junk = edit(honest, { identityKey: libsignal.curve.generateKeyPair().pubKey });

  bob.calls = [];
  const refused = await outcome(bob.decrypt(alice, junk));
  const asked = bob.calls.filter((call) => call.startsWith('isTrustedIdentity')).length;
  const locked = await outcome(bob.decrypt(alice, honest));
  return [
    ['a message with an invented identity asks the trust question and is then refused', asked === 1 && !refused.ok],
    ['the honest first message is refused afterwards: the peer is locked out', locked.error instanceof libsignal.UntrustedIdentityKeyError],
  ];
});
