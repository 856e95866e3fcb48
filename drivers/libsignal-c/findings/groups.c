/* Findings in groups. */
#include "findings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/evp.h>

#include <protocol.h>
#include <sender_key.h>

#define GROUP "6d1f2a3c9b474c0e8a153f2e7d90b6a4"
#define KEPT 2000
#define LAST 4294967295u

/* -- a sender, a receiver, and what goes between them --------------------------------------------------------------- */

static signal_buffer *given(void)
{
    signal_buffer *made = NULL;
    must(member_create(alice, GROUP, &made), "a distribution");
    return made;
}

static signal_buffer *sent(const void *text, size_t length)
{
    signal_buffer *made = NULL;
    must(member_encrypt(alice, GROUP, text, length, &made), "a message");
    return made;
}

static int take(signal_buffer *data)
{
    return member_join(bob, alice, GROUP, signal_buffer_data(data), signal_buffer_len(data));
}

/** Whether bob reads it; the error is left in `peer_words`. */
static bool reads(signal_buffer *data)
{
    signal_buffer *text = NULL;
    peer_words[0] = '\0';
    peer_work = 0;
    int result = member_decrypt(bob, alice, GROUP, signal_buffer_data(data), signal_buffer_len(data), &text);
    signal_buffer_free(text);
    return result == 0;
}

/* -- a malicious sender, with a chain of its own making -------------------------------------------------------------- */

static const uint8_t CHAIN_KEY[32] = {1};

/** The keys of the message that is so far ahead of the chain key, at an iteration that is said beside it. */
static signal_buffer *ciphertext(uint32_t ahead, const char *text)
{
    sender_chain_key *chain = NULL, *next = NULL;
    sender_message_key *keys = NULL;
    signal_buffer *made = NULL, *seed = signal_buffer_create(CHAIN_KEY, sizeof CHAIN_KEY);
    must(sender_chain_key_create(&chain, 0, seed, peer_context), "a chain");
    for (uint32_t at = 0; at < ahead; at++) {
        must(sender_chain_key_create_next(chain, &next), "a step");
        SIGNAL_UNREF(chain);
        chain = next;
    }
    must(sender_chain_key_create_message_key(chain, &keys), "message keys");
    must(peer_encrypt(&made, signal_buffer_data(sender_message_key_get_cipher_key(keys)),
                      signal_buffer_data(sender_message_key_get_iv(keys)), (const uint8_t *)text, strlen(text)),
         "a ciphertext");
    SIGNAL_UNREF(keys);
    SIGNAL_UNREF(chain);
    signal_buffer_free(seed);
    return made;
}

static signal_buffer *signed_by(ec_key_pair *pair, uint32_t iteration, uint32_t ahead)
{
    signal_buffer *body = ciphertext(ahead, "text"), *copy = NULL;
    sender_key_message *made = NULL;
    must(sender_key_message_create(&made, 7, iteration, signal_buffer_data(body), signal_buffer_len(body),
                                   ec_key_pair_get_private(pair), peer_context),
         "a message");
    copy = signal_buffer_copy(ciphertext_message_get_serialized((ciphertext_message *)made));
    SIGNAL_UNREF(made);
    signal_buffer_free(body);
    return copy;
}

static signal_buffer *chain_of(ec_public_key *signing, uint32_t iteration)
{
    sender_key_distribution_message *made = NULL;
    must(sender_key_distribution_message_create(&made, 7, iteration, CHAIN_KEY, sizeof CHAIN_KEY, signing, peer_context),
         "a distribution");
    signal_buffer *copy = signal_buffer_copy(ciphertext_message_get_serialized((ciphertext_message *)made));
    SIGNAL_UNREF(made);
    return copy;
}

static ec_key_pair *new_pair(void)
{
    ec_key_pair *pair = NULL;
    must(curve_generate_key_pair(peer_context, &pair), "a key pair");
    return pair;
}

/* -- the findings ---------------------------------------------------------------------------------------------------- */

/*
 * Attacker: a member, or whoever may repeat what the sessions carry. A distribution is not compared with the chains that
 * are held: the chain of the same id and key begins again where the distribution says.
 */
void grp_03_rewound_chain(void)
{
    begin();
    signal_buffer *first = given(), *one = sent("pay 10", 6), *two = sent("pay 20", 6);
    must(take(first), "the chain");
    seen("both are read, the later one first", reads(two) && reads(one));
    seen("a second time both are refused", !reads(one) && !reads(two));
    must(take(first), "the same distribution again");
    seen("after the distribution came again, the first is read again", reads(one));
    signal_buffer *three = sent("pay 30", 6), *later = given();
    must(take(later), "the chain as it is now");
    seen("after a newer one came, a message that was on its way is lost", !reads(three));
    signal_buffer_free(first);
    signal_buffer_free(one);
    signal_buffer_free(two);
    signal_buffer_free(three);
    signal_buffer_free(later);
}

/*
 * Attacker: none reaches it with honest chains; a member with one that it gives near its end. Iterations are counted modulo
 * 2^32: behind the last one the chain goes on at 0, with keys of its own.
 */
void grp_01_wrapped_chain(void)
{
    begin();
    ec_key_pair *pair = new_pair();
    signal_buffer *chain = chain_of(ec_key_pair_get_public(pair), LAST);
    signal_buffer *last = signed_by(pair, LAST, 0), *behind = signed_by(pair, 0, 1);
    must(take(chain), "a chain at its last iteration");
    seen("its last message is read", reads(last));
    seen("one behind it, at iteration 0, is read too", reads(behind));
    signal_buffer_free(chain);
    signal_buffer_free(last);
    signal_buffer_free(behind);
    SIGNAL_UNREF(pair);
}

/*
 * Attacker: network, under the name of a member some of whose messages were passed over. Each load of a record derives the
 * keys of all messages that it keeps, and a record is loaded before the signature is checked.
 */
void grp_02_work_before_signature(void)
{
    begin();
    ec_key_pair *pair = new_pair();
    signal_buffer *chain = chain_of(ec_key_pair_get_public(pair), 0), *far = signed_by(pair, KEPT, KEPT);
    signal_buffer *forged = signed_by(pair, KEPT + 1, KEPT + 1);
    must(take(chain), "a chain");
    seen("a message that passes over 2,000 is read", reads(far));
    signal_buffer_data(forged)[signal_buffer_len(forged) - 1] ^= 1;
    seen("a forged one is refused for its signature", !reads(forged) && strstr(peer_words, "Invalid signature") != NULL);
    printf("  %lu derivations for the forged one\n", peer_work);
    seen("at least 2,000 derivations", peer_work >= KEPT);
    signal_buffer_free(chain);
    signal_buffer_free(far);
    signal_buffer_free(forged);
    SIGNAL_UNREF(pair);
}

/** How often a record of bob's holds these bytes. */
static int holds(const uint8_t *data, size_t length)
{
    int found = 0;
    for (const struct row *row = bob->rows; row != NULL; row = row->next) {
        for (size_t at = 0; at + length <= row->length; at++)
            found += memcmp(row->data + at, data, length) == 0;
    }
    return found;
}

/*
 * Attacker: whoever takes the state later. A chain that a later distribution of the same id has covered is never asked
 * again and never moves on: its key, with which everything after it is read, stays until five others came.
 */
void grp_06_covered_chain(void)
{
    begin();
    ec_key_pair *pair = new_pair();
    signal_buffer *chain = chain_of(ec_key_pair_get_public(pair), 0);
    signal_buffer *one = signed_by(pair, 0, 0), *far = signed_by(pair, 11, 11);
    must(take(chain), "a chain");
    must(take(chain), "the same again");
    seen("the first message is read", reads(one));
    seen("the chain key that reads it is still held", holds(CHAIN_KEY, sizeof CHAIN_KEY) == 1);
    seen("a message that passes over 10 is read", reads(far));
    printf("  %lu derivations for it; 13 would do\n", peer_work);
    seen("each key that is passed over is derived whole, and not when it is used", peer_work > 20);
    signal_buffer_free(chain);
    signal_buffer_free(one);
    signal_buffer_free(far);
    SIGNAL_UNREF(pair);
}

static const uint8_t MINUS_ONE[32] = {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f};

/** Whether the hash of Ed25519 over R, A and the body, modulo the order of the base point, is even. */
static bool is_even(const uint8_t *point, const uint8_t *body, size_t length)
{
    uint8_t hash[64];
    BIGNUM *order = NULL, *number = NULL;
    BN_CTX *numbers = BN_CTX_new();
    EVP_MD_CTX *run = EVP_MD_CTX_new();
    bool even = EVP_DigestInit_ex(run, EVP_sha512(), NULL) == 1 && EVP_DigestUpdate(run, point, 32) == 1 &&
                EVP_DigestUpdate(run, MINUS_ONE, 32) == 1 && EVP_DigestUpdate(run, body, length) == 1 &&
                EVP_DigestFinal_ex(run, hash, NULL) == 1 &&
                BN_dec2bn(&order, "7237005577332262213973186563042994240857116359379907606001950938285454250989") > 0 &&
                (number = BN_lebin2bn(hash, sizeof hash, NULL)) != NULL && BN_mod(number, number, order, numbers) == 1 &&
                !BN_is_odd(number);
    BN_free(order);
    BN_free(number);
    BN_CTX_free(numbers);
    EVP_MD_CTX_free(run);
    return even;
}

/*
 * Attacker: a member, who gives the others a chain with a signing key of small order. The Montgomery coordinate 0 is the
 * Edwards point (0, -1) of order two, whose even multiples are the neutral element: with s = 1 and R = B a signature holds
 * for every message whose hash is even, and nobody's private key is needed.
 */
void idc_05_small_order(void)
{
    begin();
    uint8_t spelled[33] = {5}, point[32];
    ec_public_key *small = NULL;
    memset(point, 0x66, sizeof point);
    point[0] = 0x58;
    must(curve_decode_point(&small, spelled, sizeof spelled, peer_context), "the key");
    signal_buffer *chain = chain_of(small, 0);
    seen("the distribution is taken", take(chain) == 0);
    bool read = false;
    for (int at = 0; at < 64 && !read; at++) {
        char text[32];
        snprintf(text, sizeof text, "I owe you %d", at);
        signal_buffer *body = ciphertext(0, text);
        size_t length = signal_buffer_len(body);
        uint8_t message[256] = {0x33, 0x08, 7, 0x10, 0, 0x1a, (uint8_t)length};
        memcpy(message + 7, signal_buffer_data(body), length);
        signal_buffer_free(body);
        if (!is_even(point, message, 7 + length))
            continue;
        memcpy(message + 7 + length, point, sizeof point);
        message[7 + length + sizeof point] = 1;
        signal_buffer *forged = signal_buffer_create(message, 7 + length + 64);
        read = reads(forged);
        signal_buffer_free(forged);
    }
    seen("a message that nobody signed is read", read);
    signal_buffer_free(chain);
    SIGNAL_UNREF(small);
}

/* Attacker: network, under a member's name. Whatever its length, a message is copied and run through the signature's hash. */
void par_03_no_size_limit(void)
{
    const size_t length = 16u * 1024 * 1024;
    begin();
    signal_buffer *chain = given();
    must(take(chain), "a chain");
    char *text = calloc(1, length);
    signal_buffer *message = sent(text, length);
    signal_buffer_data(message)[signal_buffer_len(message) - 1] ^= 1;
    seen("a forged one of 16 MiB is refused for its signature, not for its size",
         !reads(message) && strstr(peer_words, "Invalid signature") != NULL);
    signal_buffer_data(message)[signal_buffer_len(message) - 1] ^= 1;
    seen("a true one is read", reads(message));
    free(text);
    signal_buffer_free(message);
    signal_buffer_free(chain);
}

/*
 * Attacker: a member. Nothing in a distribution is signed, so that one has many spellings; and a chain key has no length
 * that is asked for.
 */
void par_05_lenient_distribution(void)
{
    ec_key_pair *pair = new_pair();
    signal_buffer *signing = NULL;
    must(ec_public_key_serialize(&signing, ec_key_pair_get_public(pair)), "the signing key");
    static const struct {
        const char *how;
        uint8_t version;
        uint8_t head[8];
        size_t head_length;
        uint8_t key_length;
    } spellings[] = {
        {"a repeated field (another iteration first)", 0x33, {8, 7, 0x10, 9, 0x10, 0}, 6, 32},
        {"an overlong varint", 0x33, {8, 7, 0x10, 0x80, 0}, 5, 32},
        {"another low half of the version byte", 0x3f, {8, 7, 0x10, 0}, 4, 32},
        {"a chain key of one byte", 0x33, {8, 7, 0x10, 0}, 4, 1},
    };
    for (size_t at = 0; at < sizeof spellings / sizeof *spellings; at++) {
        uint8_t data[128] = {spellings[at].version};
        size_t length = 1 + spellings[at].head_length;
        memcpy(data + 1, spellings[at].head, spellings[at].head_length);
        data[length++] = 0x1a;
        data[length++] = spellings[at].key_length;
        length += spellings[at].key_length;
        data[length++] = 0x22;
        data[length++] = (uint8_t)signal_buffer_len(signing);
        memcpy(data + length, signal_buffer_data(signing), signal_buffer_len(signing));
        length += signal_buffer_len(signing);
        begin();
        signal_buffer *spelled = signal_buffer_create(data, length);
        seen(spellings[at].how, take(spelled) == 0);
        signal_buffer_free(spelled);
    }
    signal_buffer_free(signing);
    SIGNAL_UNREF(pair);
}

/*
 * Attacker: none; whoever held the former identity. The peer's groups know of no identity, and its store of sender keys has
 * no call to let a chain go: what came under an identity that was replaced since is read as ever.
 */
void grp_05_outlived_identity(void)
{
    begin();
    struct offer offer;
    signal_buffer *chain = given(), *message = sent("text", 4);
    must(take(chain), "the chain");
    must(device_offer(carol, false, &offer), "another identity");
    must(device_put(bob, PIN, "alice", offer.identity_key, sizeof offer.identity_key), "alice's identity replaced");
    seen("a message of the chain that came under the former identity is read", reads(message));
    signal_buffer_free(chain);
    signal_buffer_free(message);
}
