/* The mpirun command of both versions, the environment it gets, and where ranks go. */
#include "launcher/mpi/mpirun.h"
#include "launcher/hosts/placement.h"
#include "common/run/orphan_cleanup.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/run/rundir.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char *words_of(const mu_args_t *args)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_args_quote(args, &text);
    return mu_buf_detach(&text);
}

static char *command(int major, bool local, mu_args_t *vars)
{
    mu_mpirun_t mpirun = {.program = "mpirun", .major = major};
    mu_mpi_job_t job = {.ranks = 5,
                        .daemon_port = 29100,
                        .daemon_ports = 2,
                        .local = local,
                        .crowded = true,
                        .dotted = !local,
                        .hostfile = "/tmp/m/hostfile",
                        .tmp_dir = "/tmp/m",
                        .shm_dir = "/dev/shm/m/1",
                        .interfaces = local ? NULL : "10.1.0.0/16",
                        .ssh_args = local ? NULL : "-o BatchMode=yes",
                        .worker = "/usr/bin/muster-worker",
                        .config = "/run dir/config.yml",
                        .vars = vars};
    mu_args_t args = {0};
    mu_mpirun_args(&mpirun, &job, &args);
    char *text = words_of(&args);
    mu_args_free(&args);
    return text;
}

static void expect(const char *text, const char *part, bool wanted)
{
    if ((strstr(text, part) != NULL) != wanted)
        fail_msg("%s'%s' in: %s", wanted ? "no " : "", part, text);
}

static void both_versions_get_everything(void **state)
{
    (void)state;
    mu_args_t vars = {0};
    mu_args_add(&vars, "MUSTER_RUN_TOKEN=abc");
    clearenv();
    char *text = command(4, true, &vars);
    assert_string_equal(text,
                        "mpirun --hostfile /tmp/m/hostfile -np 5 --map-by slot:OVERSUBSCRIBE --bind-to none"
                        " --mca orte_tmpdir_base /tmp/m --mca btl_vader_backing_directory /dev/shm/m/1"
                        " --mca mpi_yield_when_idle 1 --mca plm isolated --mca oob_tcp_if_include lo"
                        " --mca oob_tcp_dynamic_ipv4_ports 29100-29101 --mca oob_tcp_dynamic_ipv6_ports "
                        "29100-29101 --mca pml ob1 --mca btl self,vader"
                        " -x MUSTER_RUN_TOKEN /usr/bin/muster-worker '/run dir/config.yml'");
    free(text);
    text = command(4, false, &vars);
    expect(text, "--mca plm_rsh_args '-o BatchMode=yes'", true);
    expect(text, "--mca btl_tcp_if_include 10.1.0.0/16", true);
    expect(text, "--mca btl self,vader,tcp", true);
    expect(text, "--mca orte_keep_fqdn_hostnames 1", true);
    expect(text, "abc", false); /* a value never stands in the arguments */
    free(text);
    text = command(5, false, &vars);
    expect(text, "--prtemca prte_if_include 10.1.0.0/16", true);
    expect(text, "--prtemca plm_ssh_args '-o BatchMode=yes'", true);
    expect(text, "--mca btl self,sm,tcp", true);
    expect(text, "--prtemca prte_keep_fqdn_hostnames 1", true);
    expect(text, "orte", false);
    expect(text, "vader", false);
    free(text);
    setenv("OMPI_MCA_pml", "ucx", 1); /* the user's own choice stands */
    text = command(4, false, &vars);
    expect(text, "--mca pml", false);
    free(text);
    unsetenv("OMPI_MCA_pml");
    setenv("OMPI_MCA_btl_tcp_if_exclude", "docker0", 1); /* Open MPI wants one list or the other */
    setenv("PRTE_MCA_prte_if_exclude", "docker0", 1);
    text = command(5, false, &vars);
    expect(text, "if_include", false);
    expect(text, "--mca btl_tcp_port_min_v6 29500", true);
    free(text);
    text = command(4, false, &vars);
    expect(text, "--mca oob_tcp_if_include", true);
    expect(text, "--mca btl_tcp_if_include", false);
    free(text);
    unsetenv("OMPI_MCA_btl_tcp_if_exclude");
    unsetenv("PRTE_MCA_prte_if_exclude");
    setenv("OMPI_MCA_plm_rsh_args", "-o ConnectionAttempts=10",
           1); /* Kubeflow's operator; ours name port and key */
    text = command(4, false, &vars);
    expect(text, "--mca plm_rsh_args '-o ConnectionAttempts=10 -o BatchMode=yes'", true);
    free(text);
    unsetenv("OMPI_MCA_plm_rsh_args");
    mu_args_free(&vars);
}

static void names_with_a_domain_are_known(void **state)
{
    (void)state;
    const mu_host_ranks_t plain[] = {{"node1", 1}, {"10.1.0.7", 2}, {"fe80::1", 1}};
    const mu_host_ranks_t dotted[] = {{"head", 1}, {"job-worker-0.job.ml.svc", 2}};
    assert_false(mu_mpirun_dotted(plain, 3));
    assert_true(mu_mpirun_dotted(dotted, 2));
}

static void the_environment_is_a_list(void **state)
{
    (void)state;
    static const char *const out[] = {"HF_TOKEN",   "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "LD_PRELOAD",
                                      "PYTHONPATH", "MUSTER_CONTROL_KEY",    "NCC",           "OMP",
                                      "PATHS"};
    for (size_t i = 0; i < sizeof out / sizeof *out; i++)
        assert_false(mu_env_allowed(out[i], strlen(out[i]), false));
    assert_true(mu_env_allowed("NCCL_DEBUG", 10, true));
    assert_true(mu_env_allowed("CUDNN_LOGLEVEL_DBG", 18, true));
    assert_true(mu_env_allowed("PATH", 4, false));
    assert_false(mu_env_allowed("PATH", 4, true)); /* each host has its own */
}

/* Which devices a host lets us use is that host's matter: indices, UUIDs and parts of a card (MIG) alike. */
static void visible_devices_stay_on_their_host(void **state)
{
    (void)state;
    static const char *const value[] = {"0,1", "GPU-8f3a4e1c-0f52-1f3c-9a40-6a1b2c3d4e5f",
                                        "MIG-0e8b4f6a-1f6d-5a7e-8d25-3f2b9c1d0e4a", ""};
    static const char *const name[] = {"CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"};
    mu_args_t vars = {0};
    clearenv();
    setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID", 1); /* says nothing of a host, and goes along */
    for (size_t v = 0; v < sizeof value / sizeof *value; v++)
        for (int major = 4; major <= 5; major++) {
            for (size_t i = 0; i < sizeof name / sizeof *name; i++)
                setenv(name[i], value[v], 1);
            char *far = command(major, false, &vars), *near = command(major, true, &vars);
            expect(far, "VISIBLE_DEVICES", false);
            expect(far, "-x CUDA_DEVICE_ORDER", true);
            expect(near, "-x CUDA_VISIBLE_DEVICES", true);
            expect(near, "-x NVIDIA_VISIBLE_DEVICES", true);
            free(far);
            free(near);
        }
    clearenv();
}

static bool slurm_goes_to_mpirun(bool local)
{
    mu_args_t vars = {0}, env = {0};
    mu_mpi_job_t job = {.local = local, .vars = &vars};
    mu_mpirun_env(&job, &env);
    bool there = false;
    for (int i = 0; i < env.n; i++)
        there = there || strncmp(env.v[i], "SLURM_", 6) == 0;
    mu_args_free(&env);
    return there;
}

static void mpirun_sees_no_allocation_unless_told_to_use_it(void **state)
{
    (void)state;
    setenv("SLURM_JOB_ID", "7", 1);
    assert_false(slurm_goes_to_mpirun(true));
    assert_false(slurm_goes_to_mpirun(false));
    setenv("OMPI_MCA_plm", "slurm", 1);
    assert_true(slurm_goes_to_mpirun(false));
    assert_false(slurm_goes_to_mpirun(true));
    unsetenv("OMPI_MCA_plm");
    unsetenv("SLURM_JOB_ID");
}

static void words_survive_a_shell(void **state)
{
    (void)state;
    mu_args_t args = {0};
    mu_args_add(&args, "a'b");
    mu_args_add(&args, "");
    mu_args_add(&args, "$HOME;x");
    char *text = words_of(&args);
    assert_string_equal(text, "'a'\\''b' '' '$HOME;x'");
    free(text);
    mu_args_free(&args);
}

static mu_hosts_t *hosts_of(const char *text)
{
    mu_hosts_t *hosts;
    assert_int_equal(mu_hosts_parse_list(text, &hosts), MU_OK);
    return hosts;
}

static void ranks_fill_hosts_in_order(void **state)
{
    (void)state;
    mu_placement_t p;
    /* addresses of the documentation's network: elsewhere, wherever this runs */
    mu_hosts_t *hosts = hosts_of("203.0.113.1:4,203.0.113.2:4,203.0.113.3:4");
    assert_int_equal(mu_placement_workers(hosts, NULL), 12);
    if (mu_placement_make(hosts, NULL, 6, NULL, false, &p) != MU_OK) {
        mu_hosts_free(hosts);
        skip(); /* a machine without any route */
    }
    assert_int_equal(p.count, 2);
    assert_int_equal(p.ranks, 7);
    assert_int_equal(p.place[0].ranks, 5); /* with the controller */
    assert_int_equal(p.place[1].ranks, 2);
    assert_false(p.local);
    mu_placement_free(&p);

    assert_int_equal(mu_placement_make(hosts, NULL, 12, "203.0.113.3", false, &p), MU_OK);
    assert_string_equal(p.place[0].host, "203.0.113.3");
    assert_int_equal(p.place[0].ranks, 5);
    mu_placement_free(&p);

    assert_int_equal(mu_placement_make(hosts, NULL, 12, NULL, true, &p),
                     MU_OK); /* the launcher's host sees the data */
    assert_int_equal(p.count, 4);
    assert_int_equal(p.place[0].ranks, 1);
    mu_placement_free(&p);

    assert_int_equal(mu_placement_make(hosts, NULL, 13, NULL, false, &p), MU_CONFIG);
    assert_int_equal(mu_placement_make(hosts, NULL, 2, "elsewhere", false, &p), MU_CONFIG);
    mu_hosts_free(hosts);

    hosts = hosts_of("localhost");
    assert_int_equal(mu_placement_make(hosts, NULL, 2, NULL, false, &p), MU_OK);
    assert_true(p.local);
    assert_int_equal(p.count, 1);
    assert_int_equal(p.place[0].ranks, 3);
    mu_placement_free(&p);
    mu_hosts_free(hosts);
}

static char dir[] = "/tmp/muster-rundir-test-XXXXXX";

static void one_launcher_a_directory(void **state)
{
    (void)state;
    mu_claim_t first, second;
    assert_false(mu_rundir_is_claimed(dir));
    assert_int_equal(mu_rundir_claim(dir, &first), MU_OK);
    assert_true(mu_rundir_is_claimed(dir));
    assert_int_equal(mu_rundir_claim(dir, &second), MU_RUNDIR);
    mu_rundir_release(&first);
    assert_false(mu_rundir_is_claimed(dir));
    assert_int_equal(mu_rundir_claim(dir, &second), MU_OK);
    mu_rundir_release(&second);
}

/* A launcher claims the directory and ends. A process that it left has the lock for a moment more. */
static void what_a_killed_launcher_left_is_waited_for(void **state)
{
    (void)state;
    for (int reaped = 0; reaped < 2; reaped++) {
        mu_claim_t claim;
        pid_t launcher = fork();
        if (launcher == 0) {
            if (mu_rundir_claim(dir, &claim) != MU_OK)
                _exit(1);
            if (fork() == 0)
                mu_sleep_ms(300);
            _exit(0);
        }
        siginfo_t ended;
        assert_int_equal(waitid(P_PID, (id_t)launcher, &ended, WEXITED | (reaped ? 0 : WNOWAIT)), 0);
        assert_int_equal(ended.si_status, 0);
        assert_true(mu_rundir_is_claimed(dir));
        assert_int_equal(mu_rundir_claim(dir, &claim), MU_OK);
        mu_rundir_release(&claim);
        if (!reaped)
            waitpid(launcher, NULL, 0);
    }
}

static void run_json_is_read_as_written(void **state)
{
    (void)state;
    mu_run_state_t s = {.step = 7, .loss = 2.125, .exit_code = -1, .tp = 2, .dp = 3, .workers = 6}, back;
    snprintf(s.state, sizeof s.state, "running");
    snprintf(s.reason, sizeof s.reason, "a \"quoted\" \xff reason\n");
    snprintf(s.mpi, sizeof s.mpi, "Open MPI 4.1.4");
    mu_buf_t text = MU_BUF_INIT;
    mu_run_state_json(&s, &text);
    char *path = mu_path_join(dir, "run.json");
    assert_int_equal(mu_file_replace(path, text.data, text.len, 0600), MU_OK);
    assert_int_equal(mu_run_state_read(dir, &back), MU_OK);
    assert_string_equal(back.state, "running");
    assert_string_equal(back.reason, "a \"quoted\" ? reason?");
    assert_string_equal(back.mpi, "Open MPI 4.1.4");
    assert_true(back.loss == 2.125);
    assert_int_equal(back.dp, 3);
    assert_int_equal(mu_file_replace(path, "[1", 2, 0600), MU_OK);
    assert_int_equal(mu_run_state_read(dir, &back), MU_DATA);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mu_run_state_read(dir, &back), MU_NOINPUT);
    free(path);
    mu_buf_release(&text);
}

static void a_verdict_is_about_one_config(void **state)
{
    (void)state;
    mu_verdict_t v = {.status = MU_DIVERGED, .config_digest = "one", .reason = "loss is not finite"}, back;
    assert_int_equal(mu_verdict_write(dir, &v), MU_OK);
    assert_int_equal(mu_verdict_read(dir, "one", &back), MU_OK);
    assert_int_equal(back.status, MU_DIVERGED);
    assert_string_equal(back.reason, "loss is not finite");
    assert_int_equal(mu_verdict_read(dir, "two", &back), MU_OK);
    assert_int_equal(back.status, MU_OK);
    v.status = MU_DIED; /* worth a retry: such a file is nobody's verdict */
    assert_int_equal(mu_verdict_write(dir, &v), MU_OK);
    assert_int_equal(mu_verdict_read(dir, NULL, &back), MU_OK);
    assert_int_equal(back.status, MU_OK);
}

static void stop_is_seen_and_forgotten(void **state)
{
    (void)state;
    assert_int_equal(mu_stop_asked(dir), MU_STOP_NONE);
    assert_int_equal(mu_stop_ask(dir, MU_STOP_SAVE), MU_OK);
    assert_int_equal(mu_stop_asked(dir), MU_STOP_SAVE);
    assert_int_equal(mu_stop_ask(dir, MU_STOP_NOW), MU_OK);
    assert_int_equal(mu_stop_asked(dir), MU_STOP_NOW);
    mu_stop_forget(dir);
    assert_int_equal(mu_stop_asked(dir), MU_STOP_NONE);
}

static void a_drain_is_taken_once(void **state)
{
    (void)state;
    char host[256];
    assert_false(mu_drain_waits(dir));
    assert_false(mu_drain_take(dir, host));
    assert_int_equal(mu_drain_ask(dir, "node-1"), MU_OK);
    assert_int_equal(mu_drain_ask(dir, "node-2"), MU_OK);
    assert_true(mu_drain_waits(dir));
    assert_true(mu_drain_take(dir, host));
    assert_string_equal(host, "node-2");
    assert_false(mu_drain_waits(dir));
    assert_false(mu_drain_take(dir, host));
    assert_string_equal(host, "");
}

static const char token[] = "0123456789abcdef0123456789abcdef";

/* A process with this entry as its token and, if not 0, this attempt. */
static pid_t marked(const char *text, int64_t attempt)
{
    char entry[80], number[40];
    snprintf(entry, sizeof entry, "MUSTER_RUN_TOKEN=%s", text);
    snprintf(number, sizeof number, "MUSTER_ATTEMPT=%lld", (long long)attempt);
    pid_t pid = fork();
    if (pid == 0) {
        execle("/bin/sleep", "sleep", "60", (char *)NULL, (char *[]){attempt ? number : entry, entry, NULL});
        _exit(127);
    }
    return pid;
}

static bool was_ended(pid_t pid)
{
    int status = 0;
    bool ended = waitpid(pid, &status, WNOHANG) == pid;
    if (ended)
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    kill(pid, SIGKILL);
    if (!ended)
        waitpid(pid, NULL, 0);
    return ended;
}

static void only_marked_processes_are_ended(void **state)
{
    (void)state;
    pid_t ours = marked(token, 0), old = marked(token, 4), present = marked(token, 5);
    pid_t other = marked("0123456789abcdef0123456789abcdeX", 4),
          longer = marked("0123456789abcdef0123456789abcdef0", 4);
    mu_sleep_ms(200);
    assert_int_equal(mu_orphan_cleanup_processes(token, 4), 2);
    assert_true(was_ended(ours));
    assert_true(was_ended(old));
    assert_false(was_ended(present));
    assert_false(was_ended(other));
    assert_false(was_ended(longer));
}

static void a_folder_that_is_held_stays(void **state)
{
    (void)state;
    char mark[33];
    int fd;
    mu_buf_t name = MU_BUF_INIT;
    snprintf(mark, sizeof mark, "%032lx", (unsigned long)mu_now_ns());
    memmove(mark, mark + 20, 12); /* the part that makes the name */
    mu_run_tmp_dir(mark, &name);
    assert_int_equal(mu_run_tmp_make(name.data, &fd), MU_OK);
    mu_orphan_cleanup_folders(mark);
    assert_int_equal(access(name.data, F_OK), 0);
    close(fd);
    mu_orphan_cleanup_folders(mark);
    assert_int_not_equal(access(name.data, F_OK), 0);
    assert_true(mu_run_token_ok(token));
    assert_false(mu_run_token_ok("../../etc"));
    assert_false(mu_run_token_ok("0123456789abcdef0123456789abcde/"));
    mu_buf_release(&name);
}

/* Copies in memory outlive attempts: one launcher's folder stays while others' go. */
static void copies_of_other_launchers_go(void **state)
{
    (void)state;
    char mark[33];
    mu_buf_t top = MU_BUF_INIT;
    snprintf(mark, sizeof mark, "%032lx", (unsigned long)mu_now_ns());
    memmove(mark, mark + 20, 12);
    mu_run_copies_dir(mark, &top);
    char *ours = mu_format("%s/3-ab/0", top.data), *other = mu_format("%s/1-cd/0", top.data);
    assert_int_equal(mu_make_dirs(ours, 0), MU_OK);
    assert_int_equal(mu_make_dirs(other, 0), MU_OK);
    mu_orphan_cleanup_folders(mark);
    assert_true(mu_is_dir(ours) && mu_is_dir(other));
    mu_orphan_cleanup_copies(mark, "3-ab");
    assert_true(mu_is_dir(ours) && !mu_is_dir(other));
    assert_false(mu_run_folders_foreign(mark));
    mu_orphan_cleanup_copies(mark, NULL);
    assert_int_not_equal(access(top.data, F_OK), 0);
    mu_orphan_cleanup_copies(mark, NULL); /* nothing there */
    free(ours);
    free(other);
    mu_buf_release(&top);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return mu_remove_tree(dir) == MU_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_with_a_domain_are_known),
        cmocka_unit_test(the_environment_is_a_list),
        cmocka_unit_test(visible_devices_stay_on_their_host),
        cmocka_unit_test(mpirun_sees_no_allocation_unless_told_to_use_it),
        cmocka_unit_test(words_survive_a_shell),
        cmocka_unit_test(ranks_fill_hosts_in_order),
        cmocka_unit_test(one_launcher_a_directory),
        cmocka_unit_test(what_a_killed_launcher_left_is_waited_for),
        cmocka_unit_test(run_json_is_read_as_written),
        cmocka_unit_test(a_verdict_is_about_one_config),
        cmocka_unit_test(stop_is_seen_and_forgotten),
        cmocka_unit_test(a_drain_is_taken_once),
        cmocka_unit_test(only_marked_processes_are_ended),
        cmocka_unit_test(a_folder_that_is_held_stays),
        cmocka_unit_test(copies_of_other_launchers_go),
        cmocka_unit_test(both_versions_get_everything), /* last: it clears the environment */
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
