/* Cards that a plan can name: peak products of two bf16 matrices with fp32 sums, dense, and memory, as their
 * makers' data sheets say (NVIDIA, the document named with each card). */
#ifndef MU_LAUNCHER_PLAN_CARDS_H
#define MU_LAUNCHER_PLAN_CARDS_H

typedef struct mu_card {
    const char *name;
    double tflops; /* bf16, dense: half of the figure that data sheets give "with sparsity" */
    int gib;       /* what the data sheet calls GB */
    const char *source;
} mu_card_t;

/* By name, whatever its case, dashes and blanks: "H100", "a100-40gb"; NULL when there is none. */
const mu_card_t *mu_card_find(const char *name);
/* The table, in order; NULL after the last. */
const mu_card_t *mu_card_at(int index);

#endif
