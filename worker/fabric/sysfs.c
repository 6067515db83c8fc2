#include "worker/fabric/sysfs.h"
#include "common/file.h"

#include <stdio.h>

void mu_sysfs_line(const char *dir, const char *name, char *out, size_t size)
{
    char *path = mu_path_join(dir, name);
    FILE *file = fopen(path, "re");
    free(path);
    out[0] = '\0';
    if (!file)
        return;
    if (!fgets(out, (int)size, file))
        out[0] = '\0';
    fclose(file);
    out[strcspn(out, "\n")] = '\0';
}

int mu_sysfs_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}
