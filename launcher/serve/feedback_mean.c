#include "launcher/serve/feedback_mean.h"
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"
#include "launcher/serve/asked.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* False: it is no record. */
static bool add_line(const char *line, size_t n, double *sum, mu_feedback_mean_t *out)
{
    json_error_t error;
    json_t *record = mu_json_parse_nul(line, n, MU_ASKED_VALUES, &error);
    const json_t *reward = json_object_get(record, "reward");
    bool good = json_is_object(record) && (!reward || json_is_number(reward) || json_is_null(reward));
    out->records++;
    if (good && json_is_number(reward)) {
        *sum += json_number_value(reward);
        out->rewards++;
    }
    json_decref(record);
    return good;
}

mu_status_t mu_feedback_mean(const char *path, mu_feedback_mean_t *out)
{
    FILE *file = fopen(path, "re");
    mu_feedback_mean_t found = {0};
    mu_status_t status = MU_OK;
    double sum = 0;
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    if (!file)
        return mu_fail(mu_open_status(errno), "%s: cannot be read: %s", path, strerror(errno));
    while (status == MU_OK && (n = getline(&line, &room, file)) > 0) {
        if (line[n - 1] != '\n') {
            mu_warn("%s:%lld: its end is missing: it is left out", path, (long long)found.records + 1);
            break;
        }
        if (!add_line(line, (size_t)n - 1, &sum, &found))
            status = mu_fail(MU_DATA,
                             "%s:%lld: no record of feedback: wanted a JSON object with a number as reward",
                             path, (long long)found.records);
    }
    if (status == MU_OK && ferror(file))
        status = mu_fail(MU_IO, "%s: cannot be read: %s", path, strerror(errno));
    free(line);
    fclose(file);
    found.mean = found.rewards > 0 ? sum / (double)found.rewards : (double)NAN;
    *out = found;
    return status;
}
