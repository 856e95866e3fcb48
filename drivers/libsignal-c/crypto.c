#include "peer.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#define MOST_INJECTED 16

signal_context *peer_context;
unsigned long peer_work;
char peer_words[8192];

static void add_words(const char *text, size_t length)
{
    size_t had = strlen(peer_words), room = sizeof peer_words - 1 - had;
    if (had > 0 && room > 2) {
        memcpy(peer_words + had, "; ", 2);
        had += 2;
        room -= 2;
    }
    size_t kept = length < room ? length : room;
    memcpy(peer_words + had, text, kept);
    peer_words[had + kept] = '\0';
}

void peer_note(const char *text)
{
    add_words(text, strlen(text));
}

static void note(int level, const char *message, size_t length, void *user)
{
    (void)user;
    if (level <= SG_LOG_WARNING)
        add_words(message, length);
}

/** What our own part notes where the padding of a plaintext is wrong. */
static const char DOES_NOT_DECRYPT[] = "The ciphertext does not decrypt";

/* -- cryptography, by OpenSSL -------------------------------------------------------------------------------------- */

/** Private keys that were put in, and how many of them were drawn. */
static uint8_t injected[MOST_INJECTED][PRIVATE_BYTES];
static size_t injections, drawn;

bool peer_inject(const uint8_t *keys, size_t count)
{
    if (count > MOST_INJECTED)
        return false;
    if (count > 0)
        memcpy(injected, keys, count * PRIVATE_BYTES);
    injections = count;
    drawn = 0;
    return true;
}

static int random_bytes(uint8_t *data, size_t length, void *user)
{
    (void)user;
    /* Nothing else that sessions draw has the length of a private key. */
    if (length == PRIVATE_BYTES && drawn < injections) {
        memcpy(data, injected[drawn++], PRIVATE_BYTES);
        return 0;
    }
    return length <= INT_MAX && RAND_bytes(data, (int)length) == 1 ? 0 : SG_ERR_UNKNOWN;
}

/** A running HMAC, with as much of what went in as tells a chain step and a derivation from the rest. */
struct hmac {
    EVP_MAC_CTX *mac;
    uint8_t head[32];
    size_t length;
};

/** How every label of a derivation begins; the number of its first block follows it. */
static const char LABEL[] = "Whisper";
#define LABEL_BYTES (sizeof LABEL - 1)

static void hmac_cleanup(void *made, void *user)
{
    (void)user;
    struct hmac *hmac = made;
    if (hmac != NULL)
        EVP_MAC_CTX_free(hmac->mac);
    free(hmac);
}

static int hmac_init(void **made, const uint8_t *key, size_t length, void *user)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", digest, 0), OSSL_PARAM_construct_end()};
    struct hmac *hmac = calloc(1, sizeof *hmac);
    EVP_MAC *kind = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (hmac != NULL && kind != NULL)
        hmac->mac = EVP_MAC_CTX_new(kind);
    EVP_MAC_free(kind);
    if (hmac == NULL || hmac->mac == NULL || EVP_MAC_init(hmac->mac, key, length, params) != 1) {
        hmac_cleanup(hmac, user);
        return SG_ERR_UNKNOWN;
    }
    *made = hmac;
    return 0;
}

static int hmac_update(void *made, const uint8_t *data, size_t length, void *user)
{
    (void)user;
    struct hmac *hmac = made;
    for (size_t at = 0; at < length && hmac->length + at < sizeof hmac->head; at++)
        hmac->head[hmac->length + at] = data[at];
    hmac->length += length;
    return EVP_MAC_update(hmac->mac, data, length) == 1 ? 0 : SG_ERR_UNKNOWN;
}

static int hmac_final(void *made, signal_buffer **output, void *user)
{
    (void)user;
    struct hmac *hmac = made;
    uint8_t digest[EVP_MAX_MD_SIZE];
    size_t length = 0;
    if (EVP_MAC_final(hmac->mac, digest, &length, sizeof digest) != 1)
        return SG_ERR_UNKNOWN;
    bool step = hmac->length == 1 && hmac->head[0] == 2;
    bool derivation = hmac->length > LABEL_BYTES && hmac->length <= sizeof hmac->head &&
                      hmac->head[hmac->length - 1] == 1 && memcmp(hmac->head, LABEL, LABEL_BYTES) == 0;
    if (step || derivation)
        peer_work++;
    *output = signal_buffer_create(digest, length);
    return *output == NULL ? SG_ERR_NOMEM : 0;
}

static int sha512_init(void **made, void *user)
{
    (void)user;
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    if (digest == NULL || EVP_DigestInit_ex(digest, EVP_sha512(), NULL) != 1) {
        EVP_MD_CTX_free(digest);
        return SG_ERR_UNKNOWN;
    }
    *made = digest;
    return 0;
}

static int sha512_update(void *made, const uint8_t *data, size_t length, void *user)
{
    (void)user;
    return EVP_DigestUpdate(made, data, length) == 1 ? 0 : SG_ERR_UNKNOWN;
}

static int sha512_final(void *made, signal_buffer **output, void *user)
{
    (void)user;
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    /* The peer goes on with the same context. */
    if (EVP_DigestFinal_ex(made, digest, &length) != 1 || EVP_DigestInit_ex(made, EVP_sha512(), NULL) != 1)
        return SG_ERR_UNKNOWN;
    *output = signal_buffer_create(digest, length);
    return *output == NULL ? SG_ERR_NOMEM : 0;
}

static void sha512_cleanup(void *made, void *user)
{
    (void)user;
    EVP_MD_CTX_free(made);
}

/** AES-256-CBC with PKCS#7, the only cipher of version 3 and of groups; `encrypts` as EVP_CipherInit_ex has it. */
static int cipher_run(signal_buffer **output, int cipher, const uint8_t *key, size_t key_length, const uint8_t *iv,
                      size_t iv_length, const uint8_t *data, size_t length, int encrypts)
{
    if (cipher != SG_CIPHER_AES_CBC_PKCS5 || key_length != 32 || iv_length != 16 || length > INT_MAX - 32)
        return SG_ERR_INVAL;
    int first = 0, last = 0, result = SG_ERR_UNKNOWN;
    EVP_CIPHER_CTX *run = EVP_CIPHER_CTX_new();
    uint8_t *out = malloc(length + 32);
    if (run != NULL && out != NULL && EVP_CipherInit_ex(run, EVP_aes_256_cbc(), NULL, key, iv, encrypts) == 1 &&
        EVP_CipherUpdate(run, out, &first, data, (int)length) == 1 && EVP_CipherFinal_ex(run, out + first, &last) == 1) {
        *output = signal_buffer_create(out, (size_t)(first + last));
        result = *output == NULL ? SG_ERR_NOMEM : 0;
    }
    free(out);
    EVP_CIPHER_CTX_free(run);
    return result;
}

int peer_encrypt(signal_buffer **output, const uint8_t *key, const uint8_t *iv, const uint8_t *data, size_t length)
{
    return cipher_run(output, SG_CIPHER_AES_CBC_PKCS5, key, 32, iv, 16, data, length, 1);
}

static int encrypt(signal_buffer **output, int cipher, const uint8_t *key, size_t key_length, const uint8_t *iv,
                   size_t iv_length, const uint8_t *data, size_t length, void *user)
{
    (void)user;
    return cipher_run(output, cipher, key, key_length, iv, iv_length, data, length, 1);
}

static int decrypt(signal_buffer **output, int cipher, const uint8_t *key, size_t key_length, const uint8_t *iv,
                   size_t iv_length, const uint8_t *data, size_t length, void *user)
{
    (void)user;
    int result = cipher_run(output, cipher, key, key_length, iv, iv_length, data, length, 0);
    if (result == SG_ERR_UNKNOWN)
        peer_note(DOES_NOT_DECRYPT);
    return result;
}

int peer_start(void)
{
    const signal_crypto_provider provider = {
        .random_func = random_bytes,
        .hmac_sha256_init_func = hmac_init,
        .hmac_sha256_update_func = hmac_update,
        .hmac_sha256_final_func = hmac_final,
        .hmac_sha256_cleanup_func = hmac_cleanup,
        .sha512_digest_init_func = sha512_init,
        .sha512_digest_update_func = sha512_update,
        .sha512_digest_final_func = sha512_final,
        .sha512_digest_cleanup_func = sha512_cleanup,
        .encrypt_func = encrypt,
        .decrypt_func = decrypt,
    };
    int result = signal_context_create(&peer_context, NULL);
    if (result == 0)
        result = signal_context_set_crypto_provider(peer_context, &provider);
    if (result == 0)
        result = signal_context_set_log_function(peer_context, note);
    return result;
}

void peer_stop(void)
{
    signal_context_destroy(peer_context);
    peer_context = NULL;
}
