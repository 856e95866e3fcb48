/* The verbs of groups. The peer has the earlier layout: the application says which group a message is of. */
#include "driver.h"

#include <stdlib.h>

json_t *group_create(json_t *params)
{
    signal_buffer *made = NULL;
    struct device *own = party_of(params, "party");
    const char *group = group_of(params);
    if (own == NULL || group == NULL)
        return NULL;
    int result = member_create(own, group, &made);
    return result == 0 ? handed_out("distribution", made) : refused(result);
}

json_t *group_join(json_t *params)
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

json_t *group_encrypt(json_t *params)
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

json_t *group_decrypt(json_t *params)
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

json_t *group_rotate(json_t *params)
{
    struct device *own = party_of(params, "party");
    const char *group = group_of(params);
    if (own == NULL || group == NULL)
        return NULL;
    int result = member_rotate(own, group);
    return result == 0 ? json_object() : refused(result);
}

json_t *group_secrets(json_t *params)
{
    const struct device *own = party_of(params, "party");
    if (own == NULL)
        return NULL;
    json_t *found = json_array();
    for (const struct row *row = own->rows; row != NULL; row = row->next) {
        if (row->kind == SENDER_KEY)
            look_for_secrets(row->data, row->length, found);
    }
    return json_pack("{s:o}", "secrets", found);
}
