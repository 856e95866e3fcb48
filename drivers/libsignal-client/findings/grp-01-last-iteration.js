'use strict';
// GRP-01: a member reads each message once, in any order within the window. The last message of a chain is not read.
// Attacker: none. The peer steps the chain before it decrypts, and there is no step behind iteration 4294967295, so that a
// chain ends one message earlier than its numbers. Nobody sends that many; a difference at the edge, and harmless.
const { ciphertext, distribution, encode, finding, framed, outcome, GROUP } = require('./lib');

const LAST = 2 ** 32 - 1;

finding('GRP-01', 'the message of the last iteration is not read', async ({ signal, Device }) => {
  const [alice, bob] = [new Device('alice'), new Device('bob')];
  const key = signal.PrivateKey.generate();
  const chainKey = Buffer.alloc(32, 1);
  const signingKey = Buffer.from(key.getPublicKey().serialize());
  await bob.take(alice, framed(encode(distribution({ iteration: LAST - 1, chainKey, signingKey }))));
  const message = (iteration) => Buffer.from(signal.SenderKeyMessage._new(
    3, GROUP, 7, iteration, ciphertext(chainKey, iteration - (LAST - 1), 'text'), key).serialize());
  const before = await outcome(bob.read(alice, message(LAST - 1)));
  const last = await outcome(bob.read(alice, message(LAST)));
  return [
    ['the message before it is read', before.value === 'text'],
    [`the last one is refused: ${last.refused}`, last.refused !== undefined],
  ];
});
