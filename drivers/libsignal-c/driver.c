/*
 * A driver of Pawl's gate for libsignal-protocol-c 2.3.3, groups alone: newline-delimited JSON-RPC 2.0 on stdin and
 * stdout. The contract is in docs/reference/driver-contract.md; what this driver decides is in README.md beside it.
 */
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/evp.h>

#define MOST_PARTIES 16
/** Bytes of one request, as the contract has it. */
#define MAX_LINE (4u * 1024 * 1024)
#define SECRET_BYTES 32
#define GROUP_CHARACTERS 32

static struct device *parties[MOST_PARTIES];

/** Why the verb at hand has no result: a JSON-RPC error, and for a refusal our code for it. */
static struct {
    int code;
    const char *refusal;
    char text[320];
} failed;

enum { BAD_PARAMS = -32602, INTERNAL = -32603, REFUSED = -32000 };

static void *fail(int code, const char *text)
{
    failed.code = code;
    failed.refusal = NULL;
    snprintf(failed.text, sizeof failed.text, "%s", text);
    return NULL;
}

/* -- refusals ------------------------------------------------------------------------------------------------------- */

/** Our code for what the peer returned and logged; "unknown" where that does not tell the cause. */
static const char *refusal(int result)
{
    static const struct {
        const char *words;
        const char *code;
    } by_words[] = {
        {"Received message with old counter", "duplicate-message"},
        {"messages into the future", "too-far-ahead"},
        {"No key state", "no-sender-key"},
        {"No sender key for", "no-sender-key"},
        {"No keys for", "no-sender-key"},
        {"Invalid signature!", "invalid-signature"},
        {"Incomplete message", "malformed-message"},
        {"The ciphertext does not decrypt", "invalid-ciphertext"},
    };
    for (size_t at = 0; at < sizeof by_words / sizeof *by_words; at++) {
        if (strstr(peer_words, by_words[at].words) != NULL)
            return by_words[at].code;
    }
    switch (result) {
    case SG_ERR_DUPLICATE_MESSAGE:
        return "duplicate-message";
    case SG_ERR_NO_SESSION:
        return "no-sender-key";
    case SG_ERR_INVALID_PROTO_BUF:
        return "malformed-message";
    case SG_ERR_INVALID_VERSION:
    case SG_ERR_LEGACY_MESSAGE:
        return "unknown-version";
    case SG_ERR_INVALID_KEY:
        return "invalid-key";
    default:
        return "unknown";
    }
}

/** The peer refused: every error that it returns is a refusal, for it has no other way to say so. */
static json_t *refused(int result)
{
    failed.code = REFUSED;
    failed.refusal = refusal(result);
    snprintf(failed.text, sizeof failed.text, "error %d%s%s", result, *peer_words ? ": " : "", peer_words);
    return NULL;
}

/* -- parameters ----------------------------------------------------------------------------------------------------- */

static json_t *hex_of(const uint8_t *data, size_t length)
{
    static const char digits[] = "0123456789abcdef";
    char *text = malloc(2 * length + 1);
    if (text == NULL)
        return NULL;
    for (size_t at = 0; at < length; at++) {
        text[2 * at] = digits[data[at] >> 4];
        text[2 * at + 1] = digits[data[at] & 15];
    }
    json_t *made = json_stringn(text, 2 * length);
    free(text);
    return made;
}

static int digit(char letter)
{
    if (letter >= '0' && letter <= '9')
        return letter - '0';
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/** The bytes of a parameter in hex, to be freed by the caller; NULL: it has none, and `failed` says so. */
static uint8_t *bytes_of(json_t *params, const char *name, size_t *length)
{
    const char *text = json_string_value(json_object_get(params, name));
    size_t characters = json_string_length(json_object_get(params, name));
    uint8_t *data = text == NULL || characters % 2 != 0 ? NULL : malloc(characters / 2 + 1);
    for (size_t at = 0; data != NULL && at < characters / 2; at++) {
        int high = digit(text[2 * at]), low = digit(text[2 * at + 1]);
        if (high < 0 || low < 0) {
            free(data);
            data = NULL;
        } else {
            data[at] = (uint8_t)(high << 4 | low);
        }
    }
    *length = characters / 2;
    return data != NULL ? data : fail(BAD_PARAMS, "lower-case hex was expected");
}

/** The group, by the hex of its distribution id. */
static const char *group_of(json_t *params)
{
    const char *text = json_string_value(json_object_get(params, "group"));
    if (text == NULL || strlen(text) != GROUP_CHARACTERS)
        return fail(BAD_PARAMS, "group: 16 bytes in hex were expected");
    return text;
}

static int number_of(json_t *params, const char *name)
{
    json_t *value = json_object_get(params, name);
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || number > INT32_MAX) {
        fail(BAD_PARAMS, "a number was expected");
        return -1;
    }
    return (int)number;
}

static struct device *party_of(json_t *params, const char *name)
{
    int number = number_of(params, name);
    if (number < 0 || number >= MOST_PARTIES || parties[number] == NULL)
        return fail(BAD_PARAMS, "there is no such party");
    return parties[number];
}

/* -- what is seen of a party ---------------------------------------------------------------------------------------- */

/** The chains in the records of a device, and the keys kept in the chain that has most. Fields: 1 a chain, in it 4 a key. */
static void counted(const struct device *device, json_int_t *chains, json_int_t *kept)
{
    *chains = *kept = 0;
    for (const struct record *record = device->records; record != NULL; record = record->next) {
        json_int_t states = 0;
        struct field state, key;
        const uint8_t *at = record->data, *end = at + record->length;
        while (field_next(&at, end, &state)) {
            if (state.number != 1 || state.data == NULL)
                continue;
            json_int_t keys = 0;
            const uint8_t *in = state.data, *end_of_state = in + state.length;
            states++;
            while (field_next(&in, end_of_state, &key))
                keys += key.number == 4;
            *kept = keys > *kept ? keys : *kept;
        }
        *chains = states > *chains ? states : *chains;
    }
}

/** A digest of everything that a device stores. */
static json_t *digest_of(const struct device *device)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    EVP_MD_CTX *run = EVP_MD_CTX_new();
    bool done = run != NULL && EVP_DigestInit_ex(run, EVP_sha256(), NULL) == 1;
    for (const struct record *record = device->records; done && record != NULL; record = record->next) {
        char head[256];
        int written = snprintf(head, sizeof head, "%s %.100s %d %zu:", record->group, record->sender,
                               (int)record->device_id, record->length);
        done = EVP_DigestUpdate(run, head, (size_t)written) == 1 &&
               EVP_DigestUpdate(run, record->data, record->length) == 1;
    }
    done = done && EVP_DigestFinal_ex(run, digest, &length) == 1;
    EVP_MD_CTX_free(run);
    return done ? hex_of(digest, length) : NULL;
}

static json_t *seen(const struct device *device)
{
    json_int_t chains, kept;
    counted(device, &chains, &kept);
    return json_pack("{s:o, s:I, s:I, s:b, s:I}", "digest", digest_of(device), "group_chains", chains, "group_kept", kept,
                     "durable", device->stored, "work", (json_int_t)peer_work);
}

/** Add every byte string of 32 bytes, at any depth. */
static void look_for_secrets(const uint8_t *data, size_t length, json_t *found)
{
    if (length == SECRET_BYTES) {
        json_array_append_new(found, hex_of(data, length));
        return;
    }
    struct field field;
    const uint8_t *at = data, *end = data + length;
    while (field_next(&at, end, &field)) {
        if (field.data != NULL)
            look_for_secrets(field.data, field.length, found);
    }
}

/* -- verbs ---------------------------------------------------------------------------------------------------------- */

static json_t *hello(json_t *params)
{
    (void)params;
    return json_pack("{s:s, s:s, s:i, s:[], s:i, s:[s,s,s,s,s], s:s, s:{s:i,s:i,s:n,s:n,s:n,s:n,s:i}, s:{s:s,s:b}}",
                     "name", "libsignal-c", "version", PEER_VERSION, "protocol", 1,
                     /* It speaks version 3 in sessions; this driver has no verbs for them. */
                     "message_versions", "level", 2,
                     "capabilities", "groups", "group-rotate", "restart", "reinstall", "work",
                     "group_layout", "earlier",
                     "limits", "forward_jump", 2000, "kept_per_chain", 2000, "kept_per_session", "receiving_chains",
                     "archived_sessions", "derivations_per_message", "sender_chains", 5,
                     "profile", "promotes", "on-new-chain", "closes_chains", 0);
}

static json_t *reset(json_t *params)
{
    if (number_of(params, "seed") < 0)
        return NULL;
    for (int at = 0; at < MOST_PARTIES; at++) {
        device_free(parties[at]);
        parties[at] = NULL;
    }
    return json_object();
}

static json_t *install(int number, const char *name, int32_t device_id)
{
    struct device *made = device_make(name, device_id);
    if (made == NULL)
        return fail(INTERNAL, "the party could not be made");
    device_free(parties[number]);
    parties[number] = made;
    return json_pack("{s:n}", "identity_key");
}

static json_t *create(json_t *params)
{
    int number = number_of(params, "party"), device_id = number_of(params, "device_id");
    const char *name = json_string_value(json_object_get(params, "name"));
    if (number < 0 || number >= MOST_PARTIES || device_id < 0 || name == NULL || strlen(name) > 100)
        return fail(BAD_PARAMS, "party, name and device_id were expected");
    return install(number, name, device_id);
}

static json_t *reinstall(json_t *params)
{
    struct device *old = party_of(params, "party");
    return old == NULL ? NULL : install(number_of(params, "party"), old->name, old->device_id);
}

static json_t *restart(json_t *params)
{
    struct device *own = party_of(params, "party");
    if (own == NULL)
        return NULL;
    /* What is at rest is bytes; nothing else is kept between two operations. */
    return device_reopen(own) == 0 ? json_object() : fail(INTERNAL, "the party could not be opened");
}

/** `{name: the bytes}`; the buffer is freed. */
static json_t *handed_out(const char *name, signal_buffer *data)
{
    json_t *result = json_pack("{s:o}", name, hex_of(signal_buffer_data(data), signal_buffer_len(data)));
    signal_buffer_free(data);
    return result;
}

static json_t *group_create(json_t *params)
{
    signal_buffer *made = NULL;
    struct device *own = party_of(params, "party");
    const char *group = group_of(params);
    if (own == NULL || group == NULL)
        return NULL;
    int result = member_create(own, group, &made);
    return result == 0 ? handed_out("distribution", made) : refused(result);
}

static json_t *group_join(json_t *params)
{
    size_t length;
    struct device *own = party_of(params, "party"), *sender = party_of(params, "sender");
    const char *group = group_of(params);
    if (own == NULL || sender == NULL || group == NULL)
        return NULL;
    uint8_t *data = bytes_of(params, "distribution", &length);
    if (data == NULL)
        return NULL;
    int result = member_join(own, sender, group, data, length);
    free(data);
    return result == 0 ? json_object() : refused(result);
}

static json_t *group_encrypt(json_t *params)
{
    size_t length;
    signal_buffer *made = NULL;
    struct device *own = party_of(params, "party");
    const char *group = group_of(params);
    if (own == NULL || group == NULL)
        return NULL;
    uint8_t *text = bytes_of(params, "plaintext", &length);
    if (text == NULL)
        return NULL;
    int result = member_encrypt(own, group, text, length, &made);
    free(text);
    return result == 0 ? handed_out("data", made) : refused(result);
}

static json_t *group_decrypt(json_t *params)
{
    size_t length;
    signal_buffer *text = NULL;
    struct device *own = party_of(params, "party"), *sender = party_of(params, "sender");
    const char *group = group_of(params);
    if (own == NULL || sender == NULL || group == NULL)
        return NULL;
    uint8_t *data = bytes_of(params, "data", &length);
    if (data == NULL)
        return NULL;
    int result = member_decrypt(own, sender, group, data, length, &text);
    free(data);
    return result == 0 ? handed_out("plaintext", text) : refused(result);
}

/** The peer begins a chain where its store holds none. */
static json_t *group_rotate(json_t *params)
{
    struct device *own = party_of(params, "party");
    const char *group = group_of(params);
    if (own == NULL || group == NULL)
        return NULL;
    device_drop_own(own, group);
    json_t *made = group_create(params);
    if (made == NULL)
        return NULL;
    json_object_clear(made);
    return made;
}

static json_t *group_secrets(json_t *params)
{
    const struct device *own = party_of(params, "party");
    if (own == NULL)
        return NULL;
    json_t *found = json_array();
    for (const struct record *record = own->records; record != NULL; record = record->next)
        look_for_secrets(record->data, record->length, found);
    return json_pack("{s:o}", "secrets", found);
}

static json_t *observe(json_t *params)
{
    const struct device *own = party_of(params, "party");
    return own == NULL ? NULL : seen(own);
}

static const struct verb {
    const char *name;
    json_t *(*run)(json_t *params);
    /** It acts for a party, whose state goes with the answer. */
    bool acts;
} verbs[] = {
    {"hello", hello, false},
    {"reset", reset, false},
    {"create", create, true},
    {"reinstall", reinstall, true},
    {"restart", restart, true},
    {"group_create", group_create, true},
    {"group_join", group_join, true},
    {"group_encrypt", group_encrypt, true},
    {"group_decrypt", group_decrypt, true},
    {"group_rotate", group_rotate, true},
    {"group_secrets", group_secrets, false},
    {"observe", observe, false},
};

/* -- JSON-RPC -------------------------------------------------------------------------------------------------------- */

static const struct verb *verb_of(const char *name)
{
    for (size_t at = 0; at < sizeof verbs / sizeof *verbs; at++) {
        if (strcmp(verbs[at].name, name) == 0)
            return &verbs[at];
    }
    return NULL;
}

static json_t *error_of(int code, const char *text)
{
    /* The text may be the peer's own, of any bytes. */
    json_t *message = json_string(text);
    return json_pack("{s:{s:i, s:o}}", "error", "code", code, "message",
                     message != NULL ? message : json_string("a text that is not UTF-8"));
}

/** Put the state that an operation left beside its result, or in the data of its refusal. */
static void add_state(json_t *beside, json_t *params)
{
    struct device *own = party_of(params, "party");
    char number[16];
    snprintf(number, sizeof number, "%d", number_of(params, "party"));
    if (own != NULL)
        json_object_set_new(beside, "state", json_pack("{s:o}", number, seen(own)));
}

/** `{"result": ...}` or `{"error": ...}`. */
static json_t *answered(json_t *request)
{
    const char *method = json_string_value(json_object_get(request, "method"));
    json_t *params = json_object_get(request, "params");
    if (method == NULL || (params != NULL && !json_is_object(params)))
        return error_of(-32600, "not a request");
    const struct verb *verb = verb_of(method);
    if (verb == NULL)
        return error_of(-32601, "no such verb");
    if (verb->acts) {
        json_int_t number = json_integer_value(json_object_get(params, "party"));
        if (number >= 0 && number < MOST_PARTIES && parties[number] != NULL)
            parties[number]->stored = false;
        peer_work = 0;
    }
    peer_words[0] = '\0';
    json_t *result = verb->run(params);
    if (result != NULL) {
        if (verb->acts)
            add_state(result, params);
        return json_pack("{s:o}", "result", result);
    }
    json_t *error = error_of(failed.code, failed.text);
    if (failed.code == REFUSED) {
        json_t *data = json_pack("{s:s}", "refusal", failed.refusal);
        add_state(data, params);
        json_object_set_new(json_object_get(error, "error"), "data", data);
    }
    return error;
}

static bool say(json_t *answer, json_t *request)
{
    json_t *id = json_object_get(request, "id");
    json_object_set_new(answer, "jsonrpc", json_string("2.0"));
    json_object_set(answer, "id", id != NULL ? id : json_null());
    bool said = json_dumpf(answer, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF && fflush(stdout) == 0;
    json_decref(answer);
    return said;
}

/** Read one line, without its end. Returns how long it is, more than MAX_LINE where it is too long to be kept; -1: no more. */
static long next_line(char *line)
{
    long length = 0;
    int letter;
    while ((letter = getchar()) != EOF && letter != '\n') {
        if (length < (long)MAX_LINE)
            line[length] = (char)letter;
        if (length <= (long)MAX_LINE)
            length++;
    }
    return letter == EOF ? -1 : length;
}

int main(void)
{
    char *line = malloc(MAX_LINE);
    if (line == NULL || peer_start() != 0) {
        fputs("libsignal-c: the library could not be started\n", stderr);
        return 1;
    }
    bool said = true;
    for (long length; said && (length = next_line(line)) >= 0;) {
        json_t *request = length > (long)MAX_LINE ? NULL : json_loadb(line, (size_t)length, 0, NULL);
        said = say(request == NULL ? error_of(-32700, "not JSON, or too long") : answered(request), request);
        json_decref(request);
    }
    for (int at = 0; at < MOST_PARTIES; at++)
        device_free(parties[at]);
    peer_stop();
    free(line);
    return said ? 0 : 1;
}
