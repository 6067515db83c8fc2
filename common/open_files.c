#include "common/open_files.h"
#include "common/log.h"

#include <sys/resource.h>

mu_status_t mu_open_files_allow(int64_t needed, int64_t wanted, const char *what)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= (rlim_t)wanted)
        return MU_OK;
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = (rlim_t)wanted < limit.rlim_max ? (rlim_t)wanted : limit.rlim_max;
    rlim_t now = setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
    if (now < (rlim_t)needed)
        return mu_fail(
            MU_PREFLIGHT,
            "this machine's limit of open files is %llu, but %s need %llu: raise it with ulimit -n",
            (unsigned long long)limit.rlim_max, what, (unsigned long long)needed);
    return MU_OK;
}
