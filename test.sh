#!/usr/bin/env bash
# test.sh [STAGE...]: installs what is missing (and says so), builds muster as gcc and as clang see it, and runs every
# test. The last line is `N passed, N failed, N skipped`; the exit code is 1 if anything failed.
#
#   style  scripts/check-style
#   gcc    release build, warnings are errors; the tests of every label; scripts/check-tidy
#   asan   clang, address and undefined-behaviour sanitizers, warnings are errors; unit, mpi and standin tests, 4 or 12
#          seconds of search by each fuzz target (MUSTER_FUZZ_SECONDS)
#   parity the gcc stage's programs beside PyTorch (apt), Transformers and tokenizers (PyPI, in build/parity-python)
#   tsan   clang, thread sanitizer; the unit tests of what runs threads (tests/CMakeLists.txt lists them)
#
# Without arguments: all of them, and what the later ones need is built beside the tests of gcc. Builds lie in
# build/test-*, logs beside them. Tests that need root or a GPU skip themselves, and so does the stage parity where
# python3-torch or PyPI cannot be had; with CI set, what skips for another reason than a missing GPU counts as failed.
set -uo pipefail
cd "$(dirname "$0")"
export LC_ALL=C.UTF-8
stages=("$@")
[ $# -gt 0 ] || stages=(style gcc parity asan tsan)
for stage in "${stages[@]}"; do
    case $stage in
    style | gcc | parity | asan | tsan) ;;
    *)
        echo "test.sh: no stage '$stage'; there are: style gcc parity asan tsan" >&2
        exit 2
        ;;
    esac
done

scripts/install-dependencies --test || exit
exec </dev/null

jobs=$(nproc)
passed=0 failed=0 skipped=0
failures=() skips=() table=()
options=(-DMUSTER_WERROR=ON)
gcc=(-DCMAKE_C_COMPILER=gcc -DCMAKE_CXX_COMPILER=g++) clang=(-DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++)
! command -v ccache >/dev/null || options+=(-DCMAKE_{C,CXX}_COMPILER_LAUNCHER=ccache)
# The shadow memory of older sanitizers does not fit every random layout of addresses.
fixed_layout=()
! setarch -R true 2>/dev/null || fixed_layout=(setarch -R)

fail() {
    failed=$((failed + 1))
    failures+=("$1")
    echo "FAILED: $1"
}

# compile STAGE PRESET TARGET... -- OPTION...: into its log, which is all that it says
compile() {
    local preset=$2 targets=() dir=${build_dir:-build/test-$1} log=build/test-$1.build.log
    shift 2
    while [ "$1" != -- ]; do
        targets+=("$1")
        shift
    done
    shift
    { cmake --preset "$preset" -B "$dir" "${options[@]}" "$@" &&
        cmake --build "$dir" -j "$jobs" --target "${targets[@]}" -- -k 0; } >"$log" 2>&1
}

# sm: the oldest and the newest; the sources differ below 80 alone
compile_gcc() { compile gcc release all -- "${gcc[@]}" "-DMUSTER_CUDA_ARCHS=75;120"; }
compile_parity() {
    compile parity release muster muster-worker parity_dump -- "${gcc[@]}" -DMUSTER_PARITY_QUICK=ON \
        -DMUSTER_PARITY_PYTHON="$PWD/$parity_venv/bin/python"
}
compile_asan() { compile asan fuzz unit_tests mpi_tests fuzz_tests standin_tests -- "${clang[@]}"; }
compile_tsan() { compile tsan tsan thread_tests -- "${clang[@]}"; }

# build STAGE: compiles, unless that was begun ahead, and reports
build() {
    local log=build/test-$1.build.log code=0
    if [ -n "${ahead[compile_$1]:-}" ]; then wait "${ahead[compile_$1]}" || code=$?; else "compile_$1" || code=$?; fi
    built_at=$SECONDS
    if [ $code -ne 0 ]; then
        grep -E '(error|warning)[: ]|FAILED|CMake Error' -A 4 "$log" | head -n 60
        fail "$1: build (all of it: $log)"
        return 1
    fi
    sed -n '/^-- libraries:/,/^--/p' "$log" | sed '$d'
}

# What later stages need is made beside the tests of the stage gcc, which wait for most of their time. It takes only
# what nothing else wants of the processors, so that it disturbs no test.
declare -A ahead=()
begin_ahead() { # WHAT_STAGE [AFTER]: this function, for this stage; once that other one has ended
    local after=${2:+${ahead[$2]:-}}
    [[ " ${stages[*]} " == *" ${1##*_} "* ]] && [ -z "${ahead[$1]:-}" ] || return 0
    {
        [[ " ${stages[*]} " != *" gcc "* ]] || chrt --idle --pid 0 $BASHPID || renice -n 19 $BASHPID
        [ -z "$after" ] || tail --pid="$after" -f /dev/null
        "$1"
    } >/dev/null 2>&1 &
    ahead[$1]=$!
}

# run_ctest STAGE ARGUMENT...: runs the tests of the stage's build and counts how they ended. One more at a time than
# there are processors: tests that wait (tests/CMakeLists.txt) run beside those that compute.
run_ctest() {
    local stage=$1 dir=${build_dir:-build/test-$1} log=build/test-$1.log name how line before=$failed
    shift
    "${fixed_layout[@]}" ctest --test-dir "$dir" --no-tests=error --output-on-failure -j $((jobs + 1)) "$@" 2>&1 |
        tee "$log" | grep --line-buffered -vE '^ +Start +[0-9]+:|^Internal ctest'
    while read -r name how; do
        case $how in
        Passed) passed=$((passed + 1)) ;;
        Skipped)
            if [ -n "${CI:-}" ] && [[ $name != gpu.* ]]; then
                fail "$stage: $name skipped itself, which only gpu tests may do under CI"
            else
                skipped=$((skipped + 1))
                skips+=("$stage: $name")
            fi
            ;;
        *) fail "$stage: $name ($how)" ;;
        esac
    done < <(sed -nE 's/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: ([^ ]+) \.*(\*\*\*| +)([A-Z][A-Za-z ]*[A-Za-z]).*/\1 \3/p' "$log")
    grep -qE '^[0-9]+% tests passed' "$log" || fail "$stage: ctest ended without a result"
    grep -qE '^100% tests passed' "$log" || [ $failed -gt "$before" ] || fail "$stage: ctest failed"
    # Cases that a program skipped while others of it ran.
    while read -r line; do
        skipped=$((skipped + 1))
        skips+=("$stage: $line")
    done < <(awk '/^[0-9]+\/[0-9]+ Testing: / { test = $3 }
                  /^\[  SKIPPED \] [A-Za-z0-9_]+$/ && !seen[test, $4]++ { print test ": " $4 }' \
        "$dir/Testing/Temporary/LastTest.log")
}

stage_style() {
    local code=0
    scripts/check-style || code=$?
    case $code in
    0) passed=$((passed + 1)) ;;
    77)
        passed=$((passed + 1)) skipped=$((skipped + 1))
        skips+=("style: layout, which needs clang-format 14")
        ;;
    *) fail "style: scripts/check-style" ;;
    esac
}

stage_gcc() {
    build gcc || return
    begin_ahead install_parity
    begin_ahead compile_asan
    begin_ahead compile_tsan compile_asan
    begin_ahead tidy_gcc
    scripts/check-circles build/test-gcc || fail "gcc: scripts/check-circles"
    run_ctest gcc -LE '^parity$'
    local code=0
    wait "${ahead[tidy_gcc]}" || code=$?
    case $code in
    0) passed=$((passed + 1)) ;;
    77)
        skipped=$((skipped + 1))
        skips+=("gcc: scripts/check-tidy, which needs clang-tidy 14")
        ;;
    *)
        tail -n 40 $tidy_log
        fail "gcc: scripts/check-tidy (all of it: $tidy_log)"
        ;;
    esac
}

tidy_log=build/test-tidy.log
tidy_gcc() { scripts/check-tidy build/test-gcc >$tidy_log 2>&1; }

# The peers come through the network.
parity_venv=build/parity-python parity_log=build/test-parity.install.log
install_parity() {
    { scripts/install-dependencies --test python3-torch python3-venv && tests/parity/install $parity_venv; } >$parity_log 2>&1
}

stage_parity() {
    local build_dir=build/test-gcc
    begin_ahead install_parity
    if ! wait "${ahead[install_parity]}"; then
        tail -n 5 $parity_log
        if [ -n "${CI:-}" ]; then
            fail "parity: PyTorch with Transformers could not be installed: $parity_log"
        else
            skipped=$((skipped + 1))
            skips+=("parity: all of it, since PyTorch with Transformers could not be installed: $parity_log")
        fi
        return
    fi
    build parity && run_ctest parity -L '^parity$'
}

stage_asan() { build asan && run_ctest asan -L '^(unit|mpi|fuzz|standin)$'; }
stage_tsan() { build tsan && run_ctest tsan -L '^threads$'; }

# slowest: the ten tests of all stages that took longest
slowest() {
    sed -nE 's/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: ([^ ]+) .* ([0-9.]+) sec.*/\2 s \1/p' build/test-{gcc,parity,asan,tsan}.log 2>/dev/null |
        sort -rn | head -n 10 | paste -sd, | sed 's/,/, /g'
}

mkdir -p build
rm -f build/test-{gcc,parity,asan,tsan}.log
for stage in "${stages[@]}"; do
    printf '\n== %s\n' "$stage"
    began=$SECONDS built_at=$SECONDS before=($passed $failed $skipped)
    "stage_$stage"
    table+=("$(printf '%-6s %6d s %6d s %8d %8d %8d' "$stage" $((built_at - began)) $((SECONDS - built_at)) \
        $((passed - before[0])) $((failed - before[1])) $((skipped - before[2])))")
done

printf '\n%-6s %8s %8s %8s %8s %8s\n' stage build tests passed failed skipped
printf '%s\n' "${table[@]}"
slow=$(slowest)
[ -z "$slow" ] || printf 'slowest: %s\n' "$slow"
[ ${#skips[@]} -eq 0 ] || printf 'skipped: %s\n' "${skips[@]}"
[ ${#failures[@]} -eq 0 ] || printf 'failed: %s\n' "${failures[@]}"
printf '%d passed, %d failed, %d skipped\n' $passed $failed $skipped
[ $failed -eq 0 ]
