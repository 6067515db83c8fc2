#include <hdf5.h> /* first: it declares a field called ctime, which common/banned.h forbids */

#include "worker/train/startup_handshake.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "worker/model/precision.h"
#include "worker/train/attention_choice.h"
#include "worker/comm/yielding_wait.h"

char *mu_handshake_libraries(void)
{
    char mpi[MPI_MAX_LIBRARY_VERSION_STRING];
    unsigned major, minor, release;
    int n;
    MPI_Get_library_version(mpi, &n);
    mpi[strcspn(mpi, ",\n")] = '\0';
    H5get_libversion(&major, &minor, &release);
    return mu_format("%s, HDF5 %u.%u.%u", mpi, major, minor, release);
}

static mu_status_t send_setup(mu_run_t *run, mu_setup_t *setup)
{
    return mu_yielding_broadcast(setup, sizeof *setup, run->groups->control, "broadcast of the setup");
}

/* What hosts hold of the state in memory, from the first worker. */
static mu_status_t take_offer(mu_run_t *run, mu_copies_offer_t *offer, mu_buf_t *manifest)
{
    MPI_Status from;
    int there = 0, n;
    memset(offer, 0, sizeof *offer);
    if (!run->copies_dir)
        return MU_OK;
    while (!there) {
        MU_TRY(mu_mpi_check(MPI_Iprobe(1, MU_TAG_COPIES, run->groups->control, &there, &from), "MPI_Iprobe"));
        if (!there)
            mu_sleep_ms(1);
    }
    MPI_Get_count(&from, MPI_BYTE, &n);
    char *message = mu_alloc((size_t)n);
    mu_status_t status = mu_mpi_check(
        MPI_Recv(message, n, MPI_BYTE, 1, MU_TAG_COPIES, run->groups->control, MPI_STATUS_IGNORE),
        "MPI_Recv of what copies there are");
    if (status == MU_OK) {
        memcpy(offer, message, sizeof *offer);
        mu_buf_add(manifest, message + sizeof *offer, (size_t)n - sizeof *offer);
    }
    free(message);
    return status;
}

static int64_t total(const mu_ready_t *r)
{
    return r->weights + r->gradients + r->optimizer + r->activations + r->workspace + r->communication;
}

/* Two workers' attention would give other last bits when a restart gives them each other's parts. */
static mu_status_t refuse_attention(int worker, int32_t own, int32_t others)
{
    char a[MU_ATTENTION_WORDS], b[MU_ATTENTION_WORDS];
    mu_attention_words(own, a);
    mu_attention_words(others, b);
    return mu_fail(
        MU_CONFIG,
        "worker %d computes attention by %s and others by %s: install one version of cuDNN on all hosts, "
        "or set muster.attention=own",
        worker, a, b);
}

/* Waits for READY of every worker; the first failure in rank order is the result. */
static mu_status_t collect_ready(mu_run_t *run, mu_handshake_t *out)
{
    mu_status_t status = MU_OK;
    for (int w = 0; w < run->config->tp * run->config->dp; w++) {
        mu_ready_t ready;
        MPI_Request request;
        MU_TRY(mu_mpi_check(
            MPI_Irecv(&ready, sizeof ready, MPI_BYTE, 1 + w, MU_TAG_READY, run->groups->control, &request),
            "MPI_Irecv of ready"));
        MU_TRY(mu_yielding_wait(&request, "waiting for a worker to be ready"));
        mu_page_progress(run->page);
        if (ready.status != MU_OK && status == MU_OK)
            status = (mu_status_t)ready.status;
        if (w > 0 && ready.dtype != out->memory.dtype && status == MU_OK)
            status = mu_fail(
                MU_CONFIG,
                "worker %d computes in %s and others in %s, since their devices differ: set precision "
                "to what all have, or muster.device",
                w, mu_dtype_name((mu_dtype_t)ready.dtype), mu_dtype_name((mu_dtype_t)out->memory.dtype));
        if (w > 0 && ready.attention != out->attention && status == MU_OK)
            status = refuse_attention(w, ready.attention, out->attention);
        if (w == 0)
            out->attention = ready.attention;
        if (w == 0 || total(&ready) > total(&out->memory))
            out->memory = ready;
        out->background = ready.copy > 0 && (w == 0 || out->background);
        out->copies = ready.copies > 0 && (w == 0 || out->copies);
        if (w == 0 || ready.copies > out->copies_bytes)
            out->copies_bytes = ready.copies;
        if (w == 0) {
            out->threads = ready.threads;
            snprintf(out->device, sizeof out->device, "%s", ready.device);
            snprintf(out->instruction_set, sizeof out->instruction_set, "%s", ready.instruction_set);
        }
    }
    return status;
}

static void say_numbers(const mu_config_t *c, const mu_start_t *start, const mu_handshake_t *handshake)
{
    mu_dtype_t dtype = (mu_dtype_t)handshake->memory.dtype;
    mu_loss_scale_t scale = start->setup.scale;
    mu_buf_t words = MU_BUF_INIT;
    mu_loss_scale_begin(&scale, dtype == MU_DTYPE_F16, &c->loss_scale);
    mu_precision_describe(c->precision, dtype, &scale, &c->loss_scale, &words);
    mu_info("numbers    %s", words.data);
    mu_buf_release(&words);
}

static void say_attention(const mu_config_t *c, const mu_handshake_t *handshake)
{
    char words[MU_ATTENTION_WORDS];
    mu_attention_words(handshake->attention, words);
    if (handshake->attention != MU_ATTENTION_CPU)
        mu_info("attention  %s%s", words,
                handshake->attention > 0                   ? ", engines with the same bits in each run"
                : c->muster.attention == MU_ATTENTION_AUTO ? " (muster.attention=cudnn takes cuDNN's)"
                                                           : "");
}

static void say_copies(const mu_run_t *run, const mu_start_t *start, const mu_handshake_t *handshake)
{
    const mu_config_t *c = run->config;
    char size[32];
    if (!c->muster.peer_checkpoint)
        return;
    if (handshake->copies)
        mu_info("copies     every %lld steps to the memory of two hosts, %s of it a worker",
                (long long)c->muster.peer_checkpoint_factor,
                mu_human_bytes((uint64_t)handshake->copies_bytes, size, sizeof size));
    else
        mu_warn("muster.peer_checkpoint: no copies in memory are made: %s",
                !run->copies_dir         ? "they need `muster run`, which keeps them over restarts"
                : !start->offer.possible ? "there is no replica on another host for each worker"
                                         : "a host has no room for them");
}

static void print_table(const mu_run_t *run, const mu_start_t *start, const mu_handshake_t *handshake)
{
    const mu_config_t *c = run->config;
    const mu_ready_t *m = &handshake->memory;
    char a[32], b[32], g[32], o[32], x[32], w[32];
    for (const char *note = run->watched ? "" : mu_config_notes(c);
         *note;) { /* under `muster run` it says them */
        int n = (int)strcspn(note, "\n");
        mu_info("%.*s", n, note);
        note += n + (note[n] != '\0');
    }
    mu_info("start      %s", start->rule);
    mu_info("layout     tp %d x dp %d = %d workers, %d threads each, %s", c->tp, c->dp, c->tp * c->dp,
            handshake->threads, handshake->device);
    mu_info("batch      %lld sequences = micro %lld x accumulation %lld x dp %d; %lld tokens a step",
            (long long)c->train_batch_size, (long long)c->micro_batch, (long long)c->accumulation, c->dp,
            (long long)mu_start_tokens(run, c->train_batch_size));
    if (start->former_batch > 0 && start->former_batch != c->train_batch_size)
        mu_warn(
            "the global batch is %lld sequences from here on, %s was made with %lld: train_batch_size=%lld "
            "keeps that, whatever the number of workers",
            (long long)c->train_batch_size, start->setup.path, (long long)start->former_batch,
            (long long)start->former_batch);
    say_numbers(c, start, handshake);
    say_attention(c, handshake);
    mu_info("model      %lld parameters, vocabulary %lld", (long long)mu_model_parameters(&c->model),
            (long long)c->model.vocab);
    if (c->model.lora.rank > 0)
        mu_info("adapters   %lld parameters are trained, rank %lld, scale %g; the others stay as they are",
                (long long)mu_model_trained_parameters(&c->model), (long long)c->model.lora.rank,
                c->model.lora.scale);
    mu_info("memory     %s a worker: weights %s, gradients %s, optimizer %s, activations %s, workspace %s",
            mu_human_bytes((uint64_t)total(m), a, sizeof a),
            mu_human_bytes((uint64_t)m->weights, b, sizeof b),
            mu_human_bytes((uint64_t)m->gradients, g, sizeof g),
            mu_human_bytes((uint64_t)m->optimizer, o, sizeof o),
            mu_human_bytes((uint64_t)m->activations, x, sizeof x),
            mu_human_bytes((uint64_t)m->workspace, w, sizeof w));
    if (handshake->background)
        mu_info("saving     beside the steps, from copies of %s of the host's memory a worker",
                mu_human_bytes((uint64_t)m->copy, a, sizeof a));
    say_copies(run, start, handshake);
    mu_info("data       %lld documents, %lld tokens; %lld steps read %.2f epochs",
            (long long)mu_mixture_documents(start->data, MU_TRAIN),
            (long long)mu_mixture_tokens(start->data, MU_TRAIN), (long long)c->train_iters,
            (double)mu_start_tokens(run, c->train_iters * c->train_batch_size) /
                (double)mu_mixture_tokens(start->data, MU_TRAIN));
}

/* Sends setups until every worker has its state. */
static mu_status_t settle(mu_run_t *run, mu_start_t *start, mu_handshake_t *out)
{
    for (;;) {
        mu_config_settle(&run->config, &(mu_config_facts_t){.vocab = start->setup.vocab});
        MU_TRY(send_setup(run, &start->setup));
        mu_status_t status = collect_ready(run, out);
        if (status != MU_DATA || start->setup.kind == MU_SETUP_FRESH)
            return status;
        MU_TRY(mu_start_older(run, start));
    }
}

mu_status_t mu_handshake_run(mu_run_t *run, mu_start_t *start, mu_handshake_t *out)
{
    mu_copies_offer_t offer;
    mu_buf_t manifest = MU_BUF_INIT;
    mu_setup_t last;
    MU_TRY(take_offer(run, &offer, &manifest));
    mu_status_t status = mu_start_open(run, &offer, manifest.data, manifest.len, start);
    mu_buf_release(&manifest);
    if (status == MU_OK)
        status = settle(run, start, out);
    if (status == MU_OK)
        status = mu_start_orders(run, start);
    if (status == MU_NETWORK)
        return status;
    if (status == MU_OK)
        print_table(run, start, out);
    last = start->setup;
    last.kind = MU_SETUP_GO;
    last.background = status == MU_OK && out->background;
    last.copies = status == MU_OK && out->copies;
    last.status = (int32_t)status;
    MU_TRY(send_setup(run, &last));
    run->orderly = status != MU_OK;
    return status;
}

mu_status_t mu_handshake_idle(mu_run_t *run)
{
    mu_setup_t setup;
    do {
        MU_TRY(send_setup(run, &setup));
        mu_page_progress(run->page);
    } while (setup.status == MU_OK && setup.kind != MU_SETUP_GO);
    mu_page_phase(run->page, MU_PHASE_FINISH); /* an idle rank has nothing more to do */
    return MU_OK;
}
