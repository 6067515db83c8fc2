#include "worker/infer/inference_result.h"
#include "common/file.h"
#include "common/log.h"
#include "worker/train/train_protocol.h"
#include "worker/comm/yielding_wait.h"

enum { WORDS = 256, FIRST_WORKER = 1 };

mu_status_t mu_inference_result_load(mu_run_t *run, mu_inference_model_t *model, int64_t rows)
{
    char words[WORDS] = "";
    mu_page_phase(run->page, MU_PHASE_LOAD);
    MU_TRY(mu_inference_model_weights(model, run, rows));
    if (run->groups->workers->rank != 0)
        return MU_OK;
    mu_inference_model_words(model, words, sizeof words);
    return mu_mpi_check(MPI_Send(words, WORDS, MPI_CHAR, 0, MU_TAG_READY, run->groups->control),
                        "MPI_Send of ready");
}

mu_status_t mu_inference_result_receive(mu_run_t *run)
{
    char words[WORDS];
    MPI_Request request;
    MU_TRY(mu_mpi_check(
        MPI_Irecv(words, WORDS, MPI_CHAR, FIRST_WORKER, MU_TAG_READY, run->groups->control, &request),
        "MPI_Irecv of ready"));
    MU_TRY(mu_yielding_wait(&request, "waiting for the first worker to load the model"));
    mu_info("computing in %s", words);
    return MU_OK;
}

mu_status_t mu_inference_result_write(const mu_run_t *run, const mu_buf_t *text)
{
    char *path = mu_path_join(run->dir, "result");
    mu_status_t status = mu_file_replace(path, text->data, text->len, 0600);
    free(path);
    return status;
}
