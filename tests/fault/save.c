/* fault_save DIR STEP ATTEMPT SALT KEEP: what a controller and two workers do at a save, in one process, from
 * the cleaning at the start of an attempt to the pruning. Exits with the status of the first that fails. */
#include "common/num.h"
#include "tests/unit/common/checkpoint/checkpoint_help.h"

int main(int argc, char **argv)
{
    int64_t number[4];
    if (argc != 6)
        return mu_status_exit(MU_USAGE);
    for (int i = 0; i < 4; i++)
        if (!mu_parse_i64(argv[2 + i], &number[i]))
            return mu_status_exit(MU_USAGE);
    save_t save = {.dir = argv[1],
                   .model = tiny_model(),
                   .tp = 1,
                   .dp = 2,
                   .step = number[0],
                   .attempt = (int)number[1],
                   .salt = number[2],
                   .weights_only = true,
                   .best = true};
    mu_log_tag("fault_save");
    mu_status_t status = mu_checkpoint_clean(save.dir);
    if (status == MU_OK)
        status = save_checkpoint(&save);
    if (status == MU_OK)
        status = mu_checkpoint_prune(save.dir, number[3], save.attempt);
    return mu_status_exit(status);
}
