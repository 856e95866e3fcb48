/* What the findings share. Only the peer's public API is used, over the store and the cryptography of the driver. */
#ifndef FINDINGS_H
#define FINDINGS_H

#include "peer.h"

/** Say what was seen; what was not makes the finding one that is not reproduced. */
void seen(const char *what, bool was);
/** Whatever must go well for a finding to say anything. */
void must(int result, const char *what);

/** Three devices, made anew, each with an identity. */
extern struct device *alice, *bob, *carol;
void begin(void);

typedef void finding(void);

/* In sessions (sessions.c). */
finding atm_01_torn_update, bnd_01_work_per_message, ctr_06_forgotten_base_key, ctr_06_respelled_base_key;
finding idc_04_outer_identity, idc_05_all_zero_secrets, idc_06_pinned_too_early, idc_08_not_asked_again;
finding par_02_lenient_parser, par_03_large_message;

/* In groups (groups.c). */
finding grp_01_wrapped_chain, grp_02_work_before_signature, grp_03_rewound_chain, grp_05_outlived_identity;
finding grp_06_covered_chain, idc_05_small_order, par_03_no_size_limit, par_05_lenient_distribution;

#endif
