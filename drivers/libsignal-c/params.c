#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP_CHARACTERS 32

struct failure failed;
struct device *parties[MOST_PARTIES];

void *fail(int code, const char *text)
{
    failed.code = code;
    failed.refusal = NULL;
    snprintf(failed.text, sizeof failed.text, "%s", text);
    return NULL;
}

/* -- refusals ------------------------------------------------------------------------------------------------------- */

/** Our code for what the peer returned and for the words that tell the cause; "unknown" where nothing does. */
static const char *refusal(int result)
{
    static const struct {
        const char *words;
        const char *code;
    } by_words[] = {
        {"Received message with old counter", "duplicate-message"},
        {"messages into the future", "too-far-ahead"},
        {"Message mac not verified", "bad-mac"},
        {"invalid signature on device key!", "invalid-signature"},
        {"The store has no such prekey", "unknown-prekey"},
        {"The store has no such signed prekey", "unknown-signed-prekey"},
        {"No session for", "no-session"},
        {"No key state", "no-sender-key"},
        {"No sender key for", "no-sender-key"},
        {"No keys for", "no-sender-key"},
        {"Invalid signature!", "invalid-signature"},
        {"Incomplete message", "malformed-message"},
        {"Unknown version", "unknown-version"},
        {"but session version", "unknown-version"},
        {"The ciphertext does not decrypt", "invalid-ciphertext"},
    };
    const char *found = NULL;
    for (size_t at = 0; at < sizeof by_words / sizeof *by_words; at++) {
        if (strstr(peer_words, by_words[at].words) == NULL)
            continue;
        /* A message is tried on several sessions, and each may refuse it for another reason. */
        if (found != NULL && strcmp(found, by_words[at].code) != 0)
            return "unknown";
        found = by_words[at].code;
    }
    if (found != NULL)
        return found;
    switch (result) {
    case SG_ERR_DUPLICATE_MESSAGE:
        return "duplicate-message";
    case SG_ERR_UNTRUSTED_IDENTITY:
        return "untrusted-identity";
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

json_t *refused(int result)
{
    failed.code = REFUSED;
    failed.refusal = refusal(result);
    snprintf(failed.text, sizeof failed.text, "error %d%s%.400s", result, *peer_words ? ": " : "", peer_words);
    return NULL;
}

/* -- bytes, numbers and names ---------------------------------------------------------------------------------------- */

json_t *hex_of(const uint8_t *data, size_t length)
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

uint8_t *bytes_of(json_t *params, const char *name, size_t *length)
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

uint8_t *bytes_exactly(json_t *params, const char *name, size_t length)
{
    size_t found;
    uint8_t *data = bytes_of(params, name, &found);
    if (data == NULL || found == length)
        return data;
    free(data);
    return fail(BAD_PARAMS, "other bytes were expected: too few, or too many");
}

const char *group_of(json_t *params)
{
    const char *text = json_string_value(json_object_get(params, "group"));
    if (text == NULL || strlen(text) != GROUP_CHARACTERS)
        return fail(BAD_PARAMS, "group: 16 bytes in hex were expected");
    return text;
}

int64_t number_of(json_t *params, const char *name, int64_t most)
{
    json_t *value = json_object_get(params, name);
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || number > most) {
        fail(BAD_PARAMS, "a number was expected");
        return -1;
    }
    return number;
}

int flag_of(json_t *params, const char *name)
{
    json_t *value = json_object_get(params, name);
    if (!json_is_boolean(value)) {
        fail(BAD_PARAMS, "true or false was expected");
        return -1;
    }
    return json_is_true(value);
}

int slot_of(json_t *params)
{
    return (int)number_of(params, "party", MOST_PARTIES - 1);
}

struct device *party_of(json_t *params, const char *name)
{
    int64_t number = number_of(params, name, MOST_PARTIES - 1);
    if (number < 0 || parties[number] == NULL)
        return fail(BAD_PARAMS, "there is no such party");
    return parties[number];
}

json_t *handed_out(const char *name, signal_buffer *data)
{
    json_t *result = json_pack("{s:o}", name, hex_of(signal_buffer_data(data), signal_buffer_len(data)));
    signal_buffer_free(data);
    return result;
}

void look_for_secrets(const uint8_t *data, size_t length, json_t *found)
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
