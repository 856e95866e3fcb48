/*
 * Every finding on libsignal-protocol-c 2.3.3 on its own, without the gate: `build/findings [NAME ...]`, all where none is
 * named, and `--list` for the names. Exit status: 0 when each is reproduced, 1 when one is not, 2 for a wrong name.
 */
#include "findings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool whole;

void seen(const char *what, bool was)
{
    printf("  %s: %s\n", was ? "seen" : "NOT SEEN", what);
    whole = whole && was;
}

void must(int result, const char *what)
{
    if (result != 0) {
        printf("  failed: %s: error %d %s\n", what, result, peer_words);
        exit(1);
    }
}

struct device *alice, *bob, *carol;

static struct device *installed(const char *name)
{
    struct device *made = device_make(name, 1);
    must(made == NULL ? SG_ERR_NOMEM : device_install(made), "a device");
    return made;
}

void begin(void)
{
    device_free(alice);
    device_free(bob);
    device_free(carol);
    alice = installed("alice");
    bob = installed("bob");
    carol = installed("carol");
}

static const struct {
    const char *name;
    const char *title;
    finding *find;
} findings[] = {
    {"atm-01-torn-update", "identity, session and prekey are stored by three calls", atm_01_torn_update},
    {"bnd-01-work-per-message", "a forged message is worked on in every session that is held", bnd_01_work_per_message},
    {"ctr-06-forgotten-base-key", "a first message is read again once its session is gone", ctr_06_forgotten_base_key},
    {"ctr-06-respelled-base-key", "a first message is read again with another spelling of its base key", ctr_06_respelled_base_key},
    {"grp-01-wrapped-chain", "behind the last iteration a chain goes on at 0", grp_01_wrapped_chain},
    {"grp-02-work-before-signature", "kept keys are derived before a signature is checked", grp_02_work_before_signature},
    {"grp-03-rewound-chain", "a distribution that comes again rewinds its chain", grp_03_rewound_chain},
    {"grp-05-outlived-identity", "a chain outlives the identity under which it came", grp_05_outlived_identity},
    {"grp-06-covered-chain", "the key of a chain that was covered by its own distribution stays", grp_06_covered_chain},
    {"idc-04-outer-identity", "the trust question is about the outer identity, not the session's", idc_04_outer_identity},
    {"idc-05-all-zero-secrets", "keys of small order are taken in agreements", idc_05_all_zero_secrets},
    {"idc-05-small-order", "a signing key of small order is taken", idc_05_small_order},
    {"idc-06-pinned-too-early", "an identity is pinned before its message is authenticated", idc_06_pinned_too_early},
    {"idc-08-not-asked-again", "a session goes on under an identity that was replaced", idc_08_not_asked_again},
    {"par-02-lenient-parser", "a message has many spellings", par_02_lenient_parser},
    {"par-03-large-message", "a message of any size is taken in a session", par_03_large_message},
    {"par-03-no-size-limit", "a message of any size is taken in a group", par_03_no_size_limit},
    {"par-05-lenient-distribution", "a distribution has many spellings", par_05_lenient_distribution},
};
#define FINDINGS (sizeof findings / sizeof *findings)

/** Run one finding. Returns whether it is reproduced. */
static bool run(size_t at)
{
    whole = true;
    printf("%s: %s\n", findings[at].name, findings[at].title);
    findings[at].find();
    return whole;
}

int main(int count, char **names)
{
    if (count == 2 && strcmp(names[1], "--list") == 0) {
        for (size_t at = 0; at < FINDINGS; at++)
            puts(findings[at].name);
        return 0;
    }
    if (peer_start() != 0)
        return 1;
    int missed = 0;
    for (size_t at = 0; count == 1 && at < FINDINGS; at++)
        missed += !run(at);
    for (int named = 1; named < count; named++) {
        size_t at = 0;
        while (at < FINDINGS && strcmp(findings[at].name, names[named]) != 0)
            at++;
        if (at == FINDINGS) {
            fprintf(stderr, "findings: there is none called %s; see --list\n", names[named]);
            return 2;
        }
        missed += !run(at);
    }
    device_free(alice);
    device_free(bob);
    device_free(carol);
    peer_stop();
    return missed == 0 ? 0 : 1;
}
