/* What the kernel tells in small files, one value a file. */
#ifndef MU_WORKER_SYSFS_H
#define MU_WORKER_SYSFS_H

#include <dirent.h>
#include <stddef.h>

/* The first line of DIR/NAME without its newline, cut to fit; "" if absent. */
void mu_sysfs_line(const char *dir, const char *name, char *out, size_t size);
/* For scandir(3): entries that do not begin with a dot. */
int mu_sysfs_visible(const struct dirent *entry);

#endif
