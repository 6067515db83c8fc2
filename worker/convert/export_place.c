#include "worker/convert/export_place.h"
#include "common/file.h"
#include "common/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

static mu_status_t refuse_used(const char *path)
{
    DIR *dir = opendir(path);
    int entries = 0;
    if (!dir && errno == ENOENT)
        return MU_OK;
    if (!dir)
        return mu_fail(MU_RUNDIR, "%s: cannot become a directory: %s", path, strerror(errno));
    while (readdir(dir))
        entries++;
    closedir(dir);
    return entries <= 2 /* . and .. */
               ? MU_OK
               : mu_fail(MU_RUNDIR, "%s: is there already: name a directory that does not exist", path);
}

/* A descriptor of the directory with its lock, or -1: somebody holds it, or the file system has no such locks. */
static int lock_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return -1;
}

/* What exports to `output` left that were killed. */
static void remove_left(const char *output)
{
    const char *slash = strrchr(output, '/'), *name = slash ? slash + 1 : output;
    char *parent = mu_path_parent(output), *prefix = mu_format("%s.tmp-", name);
    DIR *dir = opendir(parent);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (strncmp(e->d_name, prefix, strlen(prefix)) != 0)
            continue;
        char *left = mu_path_join(parent, e->d_name);
        int lock = lock_dir(left);
        if (lock >= 0 && mu_remove_tree(left) == MU_OK)
            mu_info("%s: removed: an export that was killed left it", left);
        if (lock >= 0)
            close(lock);
        free(left);
    }
    if (dir)
        closedir(dir);
    free(prefix);
    free(parent);
}

mu_status_t mu_export_place_make(const char *output, mu_export_place_t *out)
{
    MU_TRY(refuse_used(output));
    remove_left(output);
    mu_export_place_t place = {mu_format("%s.tmp-%ld", output, (long)getpid()), -1};
    mu_status_t status = mu_make_dirs(place.dir, 0777);
    if (status == MU_OK)
        place.lock = lock_dir(place.dir);
    if (status == MU_OK && place.lock < 0 && errno == EWOULDBLOCK)
        status = mu_fail(MU_RUNDIR, "%s: another export is made there: name another directory", place.dir);
    if (status == MU_OK)
        *out = place;
    else
        free(place.dir);
    return status;
}

mu_status_t mu_export_place_publish(const mu_export_place_t *place, const char *output)
{
    MU_TRY(mu_sync_dir(place->dir));
    if (rename(place->dir, output) != 0) /* replaces an empty directory, and nothing else */
        return mu_fail(MU_RUNDIR, "%s: cannot become the export: %s: name a directory that does not exist",
                       output, strerror(errno));
    char *parent = mu_path_parent(output);
    mu_status_t status = mu_sync_dir(parent);
    free(parent);
    return status;
}

void mu_export_place_leave(mu_export_place_t *place, mu_status_t status)
{
    if (!place->dir)
        return;
    if (status != MU_OK)
        mu_remove_tree(place->dir);
    if (place->lock >= 0)
        close(place->lock);
    free(place->dir);
    *place = (mu_export_place_t){NULL, -1};
}
