# Parameters of Open MPI that were set outside of muster, in the user's file and in the environment: what decides which
# ranks run where is refused with file and line, or does not reach mpirun; of two lists that exclude each other the
# user's counts.
. "$(dirname "$0")/lib.sh"
make_data "$scratch/data"
export HOME=$scratch/home
mkdir -p "$HOME/.openmpi"
params=$HOME/.openmpi/mca-params.conf
run() {
    muster run "$scratch/model.yml" --run-dir "$scratch/$1" train_iters=2 lr_decay_iters=2 eval_interval=0 2>"$scratch/$1.err"
}
printf '# placed by hand\nrmaps_base_no_schedule_local = 1\n' >"$params"
expect_exit 78 run refused
grep -q "$params:2.*rmaps_base_no_schedule_local" "$scratch/refused.err" || fail "file, line or name is missing: $(cat "$scratch/refused.err")"
fault "Open MPI parameters that place ranks otherwise" "$(first_error "$scratch/refused.err")" 78 "at once" "nothing"
printf 'oob_tcp_if_exclude = eth0\n' >"$params"
expect_exit 0 run excluded
rm "$params"
OMPI_MCA_rmaps=seq expect_exit 0 run variable
grep -q OMPI_MCA_rmaps "$scratch/variable.err" || fail "the variable that is not passed on is not reported"
OMPI_MCA_btl=nosuch expect_exit 78 run nosuch
grep -q 'btl = nosuch.*no component nosuch' "$scratch/nosuch.err" || fail "the component is not named: $(cat "$scratch/nosuch.err")"
fault "a component of Open MPI that is not there" "$(first_error "$scratch/nosuch.err")" 78 "at once" "nothing"
# what MPI_Init says is printed by mpirun: it is part of the cause. Open MPI 4.1 loses its own texts at times ("Data
# unpack would read past end of buffer"): then there is none in the log.
OMPI_MCA_btl=self expect_exit 81 muster run "$scratch/model.yml" --run-dir "$scratch/alone" train_iters=2 muster.max_restarts=0 2>"$scratch/alone.err"
if grep -q '^--------' "$scratch/alone/logs/mpirun.log"; then
    tail -n 1 "$scratch/alone.err" | grep -qE 'in phase mpi_init at step 0: (At least one pair of MPI processes|It looks like MPI_INIT)' ||
        fail "the cause is not named: $(cat "$scratch/alone.err")"
fi
fault "MPI_Init fails (no component joins the ranks)" "$(sed -nE 's/.*"reason": "(.*)".*/\1/p' "$scratch/alone/run.json")" 81 "at once" "nothing"
