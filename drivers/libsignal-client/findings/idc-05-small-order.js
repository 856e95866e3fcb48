'use strict';
// IDC-05: public keys that give no secret are refused. A signing key of small order is taken.
// Attacker: a member, who gives the others a chain with such a key. From then on whoever has that chain can sign for
// this sender without any private key, and the sender can say that somebody did.
const crypto = require('node:crypto');
const { GROUP_BYTES, ciphertext, distribution, encode, finding, framed, outcome } = require('./lib');

// The Montgomery coordinate 0 is the Edwards point (0, -1) of order two: its even multiples are the neutral element. With
// s = 1 and R = B a signature holds for every message whose hash is even.
const SMALL = Buffer.concat([Buffer.from([5]), Buffer.alloc(32)]);
const EDWARDS = Buffer.from(`ec${'ff'.repeat(30)}7f`, 'hex');
const BASE_POINT = Buffer.from(`58${'66'.repeat(31)}`, 'hex');
const ONE = Buffer.concat([Buffer.from([1]), Buffer.alloc(31)]);
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

/** Whether the hash of Ed25519 over these bytes, modulo the order of the base point, is even. */
function even(body) {
  const hash = crypto.createHash('sha512').update(BASE_POINT).update(EDWARDS).update(body).digest();
  return BigInt(`0x${Buffer.from(hash).reverse().toString('hex')}`) % ORDER % 2n === 0n;
}

finding('IDC-05', 'a signing key of small order is taken; its messages need no private key', async ({ Device }) => {
  const [alice, bob] = [new Device('alice'), new Device('bob')];
  const chainKey = Buffer.alloc(32, 1);
  const taken = await outcome(bob.take(alice, framed(encode(distribution({ chainKey, signingKey: SMALL })))));
  let forged;
  for (let n = 0; forged === undefined; n += 1) {
    const body = framed(encode([[1, GROUP_BYTES], [2, 7], [3, 0], [4, ciphertext(chainKey, 0, `I owe you ${n}`)]]));
    if (even(body)) forged = Buffer.concat([body, BASE_POINT, ONE]);
  }
  const read = await outcome(bob.read(alice, forged));
  return [
    ['the distribution is taken', taken.refused === undefined],
    [`a message that nobody signed is read: ${read.value ?? read.refused}`, /^I owe you/.test(read.value)],
  ];
});
