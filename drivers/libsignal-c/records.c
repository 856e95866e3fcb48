#include "peer.h"

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

static int larger(int one, int other)
{
    return one > other ? one : other;
}

/** How often a field of bytes is in a message. */
static int times(const uint8_t *data, size_t length, uint64_t number)
{
    int found = 0;
    struct field field;
    for (const uint8_t *at = data, *end = data + length; field_next(&at, end, &field);)
        found += field.number == number && field.data != NULL;
    return found;
}

/** A session: field 7 a receiving chain, in it 4 a kept key. */
static void count_session(const uint8_t *data, size_t length, struct counts *counts)
{
    int chains = 0, kept = 0;
    struct field chain;
    for (const uint8_t *at = data, *end = data + length; field_next(&at, end, &chain);) {
        if (chain.number != 7 || chain.data == NULL)
            continue;
        int keys = times(chain.data, chain.length, 4);
        chains++;
        kept += keys;
        counts->kept_chain = larger(counts->kept_chain, keys);
    }
    counts->chains = larger(counts->chains, chains);
    counts->kept_session = larger(counts->kept_session, kept);
}

/** A record of sessions: field 1 the current one, 2 an archived one. One of sender keys: 1 a chain, in it 4 a kept key. */
static void count_record(const struct row *row, struct counts *counts)
{
    int states = 0;
    struct field state;
    for (const uint8_t *at = row->data, *end = at + row->length; field_next(&at, end, &state);) {
        if (state.data == NULL)
            continue;
        if (row->kind == SENDER_KEY && state.number == 1) {
            states++;
            counts->group_kept = larger(counts->group_kept, times(state.data, state.length, 4));
        } else if (row->kind == SESSION && (state.number == 1 || state.number == 2)) {
            states += state.number == 2;
            count_session(state.data, state.length, counts);
        }
    }
    if (row->kind == SENDER_KEY)
        counts->group_chains = larger(counts->group_chains, states);
    else
        counts->archived = larger(counts->archived, states);
}

struct counts device_counts(const struct device *device)
{
    struct counts counts = {0};
    for (const struct row *row = device->rows; row != NULL; row = row->next) {
        if (row->kind == SESSION || row->kind == SENDER_KEY)
            count_record(row, &counts);
    }
    return counts;
}
