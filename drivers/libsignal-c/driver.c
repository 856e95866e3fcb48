/*
 * A driver of Pawl's gate for libsignal-protocol-c 2.3.3: newline-delimited JSON-RPC 2.0 on stdin and stdout. The
 * contract is in docs/reference/driver-contract.md; what this driver decides is in README.md beside it.
 */
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

/** Bytes of one request, as the contract has it. */
#define MAX_LINE (4u * 1024 * 1024)

/* -- what is seen of a party ---------------------------------------------------------------------------------------- */

/** A digest of everything that a device stores, and of what it is. */
static json_t *digest_of(const struct device *device)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    char head[320];
    unsigned length = 0;
    EVP_MD_CTX *run = EVP_MD_CTX_new();
    int written = snprintf(head, sizeof head, "%s\n%d %d\n", device->name, (int)device->device_id,
                           device->trust_on_first_use);
    bool done = run != NULL && EVP_DigestInit_ex(run, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(run, head, (size_t)written) == 1;
    for (const struct row *row = device->rows; done && row != NULL; row = row->next) {
        written = snprintf(head, sizeof head, "%d %zu %s\n", (int)row->kind, row->length, row->key);
        done = EVP_DigestUpdate(run, head, (size_t)written) == 1 && EVP_DigestUpdate(run, row->data, row->length) == 1;
    }
    done = done && EVP_DigestFinal_ex(run, digest, &length) == 1;
    EVP_MD_CTX_free(run);
    return done ? hex_of(digest, length) : NULL;
}

static json_t *seen(const struct device *device)
{
    struct counts counts = device_counts(device);
    json_t *prekeys = json_array();
    for (const struct row *row = device->rows; row != NULL; row = row->next) {
        if (row->kind == PREKEY)
            json_array_append_new(prekeys, json_integer((json_int_t)strtoul(row->key, NULL, 10)));
    }
    return json_pack("{s:o, s:o, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:I}", "digest", digest_of(device), "prekeys", prekeys,
                     "sessions", counts.archived, "chains", counts.chains, "kept_chain", counts.kept_chain,
                     "kept_session", counts.kept_session, "group_chains", counts.group_chains,
                     "group_kept", counts.group_kept, "durable", device->stored, "work", (json_int_t)peer_work);
}

/* -- verbs ---------------------------------------------------------------------------------------------------------- */

static json_t *hello(json_t *params)
{
    (void)params;
    json_t *said = json_pack("{s:s, s:s, s:i, s:[i], s:i, s:s, s:{s:i,s:i,s:i,s:i,s:i,s:n,s:i}, s:{s:s,s:b}}",
                             "name", "libsignal-c", "version", PEER_VERSION, "protocol", 1,
                             "message_versions", 3, "level", 2, "group_layout", "earlier",
                             "limits", "forward_jump", 2000, "kept_per_chain", 2000, "kept_per_session", 10000, "receiving_chains", 5,
                             "archived_sessions", 40, "derivations_per_message", "sender_chains", 5,
                             "profile", "promotes", "always", "closes_chains", 0);
    json_object_set_new(said, "capabilities",
                        json_pack("[s,s,s,s,s,s,s,s,s,s]", "groups", "group-rotate", "restart", "reinstall", "approve",
                                  "strict-identity", "crash", "work", "import-keys", "inject-keys"));
    return said;
}

static json_t *reset(json_t *params)
{
    if (number_of(params, "seed", UINT32_MAX) < 0)
        return NULL;
    for (int at = 0; at < MOST_PARTIES; at++) {
        device_free(parties[at]);
        parties[at] = NULL;
    }
    peer_inject(NULL, 0);
    return json_object();
}

static json_t *restart(json_t *params)
{
    struct device *own = party_of(params, "party");
    if (own == NULL)
        return NULL;
    own->crashed = false;
    /* What is at rest is bytes; nothing else is kept between two operations. */
    return device_reopen(own) == 0 ? json_object() : fail(INTERNAL, "the party could not be opened");
}

static json_t *observe(json_t *params)
{
    const struct device *own = party_of(params, "party");
    return own == NULL ? NULL : seen(own);
}

/* -- crashes ---------------------------------------------------------------------------------------------------------- */

/** No crash is due any more. Returns whether one was. */
static bool disarm(struct device *device)
{
    bool armed = device->crash_at >= 0;
    rows_free(device->before);
    device->before = NULL;
    device->crash_at = -1;
    device->calls = 0;
    device->struck = false;
    return armed;
}

static json_t *arm_crash(json_t *params)
{
    struct device *own = party_of(params, "party");
    int64_t at = number_of(params, "at", HANDED_OUT);
    if (own == NULL || at < 0)
        return NULL;
    disarm(own);
    own->crash_at = (int)at;
    return json_object();
}

static json_t *disarm_crash(json_t *params)
{
    struct device *own = party_of(params, "party");
    return own == NULL ? NULL : json_pack("{s:b}", "armed", disarm(own));
}

/**
 * The operation is over. If a crash was due within it: go back to what was durable then. What the peer did after that
 * moment reached nothing but memory that is gone, and this store. Returns the error to answer with, or NULL.
 */
static json_t *crash(struct device *device)
{
    if (device->crash_at < 0)
        return NULL;
    if (device->crash_at == HANDED_OUT ? !device->stored : !device->struck) {
        device->calls = 0;
        return NULL;
    }
    json_t *complete = digest_of(device);
    if (device->struck) {
        rows_free(device->rows);
        device->rows = device->before;
        device->before = NULL;
    }
    disarm(device);
    device->crashed = true;
    return json_pack("{s:{s:i, s:s, s:{s:o}}}", "error", "code", CRASHED, "message", "crashed, as it was told to",
                     "data", "complete", complete);
}

static const struct verb {
    const char *name;
    verb_run *run;
    /** It acts for a party, whose state goes with the answer. */
    bool acts;
    /** A crash can strike within it. */
    bool crashable;
} verbs[] = {
    {"hello", hello, false, false},
    {"reset", reset, false, false},
    {"create", create, true, false},
    {"reinstall", reinstall, true, false},
    {"restart", restart, true, false},
    {"bundle", bundle, true, false},
    {"establish", establish, true, true},
    {"encrypt", encrypt, true, true},
    {"decrypt", decrypt, true, true},
    {"approve", approve, true, false},
    {"secrets", secrets, false, false},
    {"arm_crash", arm_crash, false, false},
    {"disarm_crash", disarm_crash, false, false},
    {"import_party", import_party, true, false},
    {"import_signed_prekey", import_signed_prekey, true, false},
    {"import_prekey", import_prekey, true, false},
    {"inject_keys", inject_keys, false, false},
    {"group_create", group_create, true, true},
    {"group_join", group_join, true, true},
    {"group_encrypt", group_encrypt, true, true},
    {"group_decrypt", group_decrypt, true, true},
    {"group_rotate", group_rotate, true, true},
    {"group_secrets", group_secrets, false, false},
    {"observe", observe, false, false},
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
    int slot = slot_of(params);
    char number[16];
    snprintf(number, sizeof number, "%d", slot);
    if (slot >= 0 && parties[slot] != NULL)
        json_object_set_new(beside, "state", json_pack("{s:o}", number, seen(parties[slot])));
}

/** The party that a request is about, if there is one. */
static struct device *party_at(json_t *params)
{
    json_t *number = json_object_get(params, "party");
    json_int_t slot = json_integer_value(number);
    return json_is_integer(number) && slot >= 0 && slot < MOST_PARTIES ? parties[slot] : NULL;
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
    struct device *before = party_at(params);
    if (before != NULL && before->crashed && verb->acts && verb->run != restart)
        return error_of(BAD_PARAMS, "it crashed; restart it first");
    const bool stored = before != NULL && before->stored;
    const unsigned long work = peer_work;
    if (verb->acts) {
        if (before != NULL)
            before->stored = false;
        peer_work = 0;
    }
    peer_words[0] = '\0';
    json_t *result = verb->run(params);
    if (verb->run == establish || verb->run == decrypt)
        peer_inject(NULL, 0);
    if (verb->crashable && before != NULL && (result != NULL || failed.code == REFUSED)) {
        json_t *crashed = crash(before);
        if (crashed != NULL) {
            json_decref(result);
            return crashed;
        }
    }
    if (result != NULL) {
        if (verb->acts)
            add_state(result, params);
        return json_pack("{s:o}", "result", result);
    }
    json_t *error = error_of(failed.code, failed.text);
    if (failed.code != REFUSED) {
        /* Nothing was done: what the last operation did stays to be seen. */
        if (before != NULL)
            before->stored = stored;
        peer_work = work;
    } else {
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
