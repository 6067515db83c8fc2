/* fault_save DIR STEP ATTEMPT SALT [background]: one attempt (attempt.h). Exits with the status of the first that
 * fails. */
#include "common/num.h"
#include "tests/fault/attempt.h"

int main(int argc, char **argv)
{
    int64_t number[3];
    bool background = argc == 6 && strcmp(argv[5], "background") == 0;
    if (argc != 5 && !background)
        return mu_status_exit(MU_USAGE);
    for (int i = 0; i < 3; i++)
        if (!mu_parse_i64(argv[2 + i], &number[i]))
            return mu_status_exit(MU_USAGE);
    mu_log_tag("fault_save");
    return mu_status_exit(run_attempt(argv[1], number[0], (int)number[1], number[2], background));
}
