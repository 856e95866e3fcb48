#include "peer.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <group_cipher.h>
#include <group_session_builder.h>
#include <protocol.h>

unsigned long peer_work;
char peer_words[256];

signal_context *peer_context;

static void note(int level, const char *message, size_t length, void *user)
{
    (void)user;
    if (level > SG_LOG_WARNING)
        return;
    size_t kept = length < sizeof peer_words - 1 ? length : sizeof peer_words - 1;
    memcpy(peer_words, message, kept);
    peer_words[kept] = '\0';
}

/** What our own part notes where the padding of a plaintext is wrong. */
static const char DOES_NOT_DECRYPT[] = "The ciphertext does not decrypt";

/* -- cryptography, by OpenSSL -------------------------------------------------------------------------------------- */

static int random_bytes(uint8_t *data, size_t length, void *user)
{
    (void)user;
    return length <= INT_MAX && RAND_bytes(data, (int)length) == 1 ? 0 : SG_ERR_UNKNOWN;
}

/** A running HMAC, with as much of what went in as tells a chain step and a derivation from the rest. */
struct hmac {
    EVP_MAC_CTX *mac;
    uint8_t head[16];
    size_t length;
};

static const char LABEL[] = "WhisperGroup\x01";
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
    bool derivation = hmac->length == LABEL_BYTES && memcmp(hmac->head, LABEL, LABEL_BYTES) == 0;
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

/** AES-256-CBC with PKCS#7, the only cipher of groups; `encrypts` as EVP_CipherInit_ex has it. */
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
    int result = cipher_run(output, cipher, key, key_length, iv, iv_length, data, length, 0);
    if (result == SG_ERR_UNKNOWN)
        note(SG_LOG_WARNING, DOES_NOT_DECRYPT, sizeof DOES_NOT_DECRYPT - 1, user);
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

/* -- the store ------------------------------------------------------------------------------------------------------- */

static char *copied(const char *text, size_t length)
{
    char *copy = malloc(length + 1);
    if (copy != NULL) {
        memcpy(copy, text, length);
        copy[length] = '\0';
    }
    return copy;
}

static bool is(const char *held, const char *text, size_t length)
{
    return strlen(held) == length && memcmp(held, text, length) == 0;
}

/** Where the pointer to the record of this name is, or would be. */
static struct record **place(struct device *device, const signal_protocol_sender_key_name *name)
{
    struct record **at = &device->records;
    for (; *at != NULL; at = &(*at)->next) {
        if (is((*at)->group, name->group_id, name->group_id_len) && (*at)->device_id == name->sender.device_id &&
            is((*at)->sender, name->sender.name, name->sender.name_len))
            break;
    }
    return at;
}

static void record_free(struct record *record)
{
    if (record == NULL)
        return;
    free(record->group);
    free(record->sender);
    free(record->data);
    free(record);
}

static int store_sender_key(const signal_protocol_sender_key_name *name, uint8_t *data, size_t length,
                            uint8_t *user_record, size_t user_record_length, void *user)
{
    (void)user_record;
    (void)user_record_length;
    struct device *device = user;
    struct record **at = place(device, name);
    uint8_t *bytes = malloc(length + 1);
    if (bytes == NULL)
        return SG_ERR_NOMEM;
    memcpy(bytes, data, length);
    if (*at == NULL) {
        struct record *made = calloc(1, sizeof *made);
        if (made != NULL) {
            made->group = copied(name->group_id, name->group_id_len);
            made->sender = copied(name->sender.name, name->sender.name_len);
            made->device_id = name->sender.device_id;
        }
        if (made == NULL || made->group == NULL || made->sender == NULL) {
            record_free(made);
            free(bytes);
            return SG_ERR_NOMEM;
        }
        *at = made;
    }
    free((*at)->data);
    (*at)->data = bytes;
    (*at)->length = length;
    device->stored = true;
    return 0;
}

static int load_sender_key(signal_buffer **data, signal_buffer **user_record,
                           const signal_protocol_sender_key_name *name, void *user)
{
    (void)user_record;
    const struct record *found = *place(user, name);
    if (found == NULL)
        return 0;
    *data = signal_buffer_create(found->data, found->length);
    return *data == NULL ? SG_ERR_NOMEM : 1;
}

int device_reopen(struct device *device)
{
    const signal_protocol_sender_key_store store = {
        .store_sender_key = store_sender_key,
        .load_sender_key = load_sender_key,
        .user_data = device,
    };
    if (device->store != NULL)
        signal_protocol_store_context_destroy(device->store);
    device->store = NULL;
    int result = signal_protocol_store_context_create(&device->store, peer_context);
    if (result == 0)
        result = signal_protocol_store_context_set_sender_key_store(device->store, &store);
    return result;
}

struct device *device_make(const char *name, int32_t device_id)
{
    struct device *made = calloc(1, sizeof *made);
    if (made == NULL)
        return NULL;
    made->device_id = device_id;
    made->name = copied(name, strlen(name));
    if (made->name == NULL || device_reopen(made) != 0) {
        device_free(made);
        return NULL;
    }
    return made;
}

void device_free(struct device *device)
{
    if (device == NULL)
        return;
    if (device->store != NULL)
        signal_protocol_store_context_destroy(device->store);
    for (struct record *record = device->records, *next; record != NULL; record = next) {
        next = record->next;
        record_free(record);
    }
    free(device->name);
    free(device);
}

static signal_protocol_sender_key_name named(const struct device *sender, const char *group)
{
    signal_protocol_sender_key_name name = {
        .group_id = group,
        .group_id_len = strlen(group),
        .sender = {.name = sender->name, .name_len = strlen(sender->name), .device_id = sender->device_id},
    };
    return name;
}

void device_drop_own(struct device *device, const char *group)
{
    signal_protocol_sender_key_name name = named(device, group);
    struct record **at = place(device, &name);
    struct record *gone = *at;
    if (gone == NULL)
        return;
    *at = gone->next;
    record_free(gone);
    device->stored = true;
}

/* -- a member -------------------------------------------------------------------------------------------------------- */

int member_create(struct device *own, const char *group, signal_buffer **distribution)
{
    group_session_builder *builder = NULL;
    sender_key_distribution_message *made = NULL;
    signal_protocol_sender_key_name name = named(own, group);
    int result = group_session_builder_create(&builder, own->store, peer_context);
    if (result == 0)
        result = group_session_builder_create_session(builder, &made, &name);
    if (result == 0) {
        *distribution = signal_buffer_copy(ciphertext_message_get_serialized((ciphertext_message *)made));
        result = *distribution == NULL ? SG_ERR_NOMEM : 0;
    }
    SIGNAL_UNREF(made);
    group_session_builder_free(builder);
    return result;
}

int member_join(struct device *own, const struct device *sender, const char *group, const uint8_t *data, size_t length)
{
    group_session_builder *builder = NULL;
    sender_key_distribution_message *given = NULL;
    signal_protocol_sender_key_name name = named(sender, group);
    int result = sender_key_distribution_message_deserialize(&given, data, length, peer_context);
    if (result == 0)
        result = group_session_builder_create(&builder, own->store, peer_context);
    if (result == 0)
        result = group_session_builder_process_session(builder, &name, given);
    SIGNAL_UNREF(given);
    group_session_builder_free(builder);
    return result;
}

int member_encrypt(struct device *own, const char *group, const uint8_t *text, size_t length, signal_buffer **message)
{
    group_cipher *cipher = NULL;
    ciphertext_message *made = NULL;
    signal_protocol_sender_key_name name = named(own, group);
    int result = group_cipher_create(&cipher, own->store, &name, peer_context);
    if (result == 0)
        result = group_cipher_encrypt(cipher, text, length, &made);
    if (result == 0) {
        *message = signal_buffer_copy(ciphertext_message_get_serialized(made));
        result = *message == NULL ? SG_ERR_NOMEM : 0;
    }
    SIGNAL_UNREF(made);
    group_cipher_free(cipher);
    return result;
}

int member_decrypt(struct device *own, const struct device *sender, const char *group, const uint8_t *data,
                   size_t length, signal_buffer **text)
{
    group_cipher *cipher = NULL;
    sender_key_message *message = NULL;
    signal_protocol_sender_key_name name = named(sender, group);
    int result = sender_key_message_deserialize(&message, data, length, peer_context);
    if (result == 0)
        result = group_cipher_create(&cipher, own->store, &name, peer_context);
    if (result == 0)
        result = group_cipher_decrypt(cipher, message, NULL, text);
    SIGNAL_UNREF(message);
    group_cipher_free(cipher);
    return result;
}

/* -- records, as far as they are looked at -------------------------------------------------------------------------- */

static bool varint(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
        uint8_t byte = *(*at)++;
        *value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return true;
    }
    return false;
}

bool field_next(const uint8_t **at, const uint8_t *end, struct field *field)
{
    uint64_t tag;
    if (!varint(at, end, &tag) || !varint(at, end, &field->value) || tag < 8)
        return false;
    field->number = tag >> 3;
    field->data = NULL;
    field->length = 0;
    if ((tag & 7) == 2) {
        if (field->value > (uint64_t)(end - *at))
            return false;
        field->data = *at;
        field->length = (size_t)field->value;
        *at += field->length;
        return true;
    }
    return (tag & 7) == 0;
}
