/*
 * replay FILE|FOLDER...: gives a target every input there, once, and shows what was logged last. What is
 * linked where libFuzzer is not.
 */
#include "common/file.h"
#include "tests/fuzz/fuzz.h"

#include <dirent.h>

enum { INPUT_MAX = 16 << 20 };

static int replay(const char *path)
{
    mu_buf_t bytes = MU_BUF_INIT;
    FUZZ_CHECK(mu_file_read(path, INPUT_MAX, &bytes) == MU_OK);
    /* a copy of exactly its size, so that a sanitizer sees a byte too far */
    uint8_t *exact = mu_alloc(bytes.len ? bytes.len : 1);
    if (bytes.len)
        memcpy(exact, bytes.data, bytes.len);
    fprintf(stderr, "%s: ", path);
    LLVMFuzzerTestOneInput(exact, bytes.len);
    fprintf(stderr, "%s\n", *fuzz_said() ? fuzz_said() : "nothing to say");
    free(exact);
    mu_buf_release(&bytes);
    return 1;
}

static int replay_all(const char *path)
{
    struct dirent **names = NULL;
    int done = 0, count = mu_is_dir(path) ? scandir(path, &names, NULL, alphasort) : -1;
    for (int i = 0; i < count; i++) {
        char *file = mu_path_join(path, names[i]->d_name);
        if (mu_is_file(file))
            done += replay(file);
        free(file);
        free(names[i]);
    }
    free(names);
    return count < 0 ? replay(path) : done;
}

int main(int argc, char **argv)
{
    int done = 0;
    for (int i = 1; i < argc; i++)
        done += replay_all(argv[i]);
    printf("%d inputs\n", done);
    return done > 0 ? 0 : 1;
}
