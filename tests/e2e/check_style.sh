#!/usr/bin/env bash
# scripts/check-style refuses what it is there for: a circle between folders, an include of a folder above, a folder of
# 31 sources, a dead link, a page in a string, a name of an environment variable outside the table, prose beyond column
# 120. And check-circles: files that call each other; check-tidy: a mistake.
. "$(dirname "$0")/lib.sh"
tree=$scratch/tree
mkdir "$tree" && tar -C "$MUSTER_SOURCE" --exclude='./build*' --exclude=.git -cf - . 2>/dev/null | tar -C "$tree" -xf -
rm -rf "$tree/quickstart" "$tree/tests/data"
# the layout and the spelling are not the subject
mkdir "$scratch/none" && ln -s /bin/true "$scratch/none/codespell"
for name in clang-format clang-format-14; do ln -s /bin/false "$scratch/none/$name"; done
check() { # check EXIT_CODE [PATTERN...]: it ends so, and a line has each pattern
    local code=0 wanted=$1
    shift
    (cd "$tree" && PATH=$scratch/none:$PATH GIT_DIR=$scratch/no.git scripts/check-style) >"$scratch/out" 2>&1 || code=$?
    [ $code -eq "$wanted" ] || fail "exit $code: $(tail -n 5 "$scratch/out")"
    for pattern in "$@"; do grep -q -- "$pattern" "$scratch/out" || fail "no '$pattern': $(tail -n 20 "$scratch/out")"; done
}
check 77 # the tree itself is fine; 77: no clang-format

plant() { # plant FILE LINE: as the first line
    sed -i "1i\\$2" "$tree/$1"
}
plant dataset/store/dataset.c '#include "launcher/cmd/cmd.h"'           # an arrow up, which closes a circle
plant worker/main.c 'const char *planted = "MUSTER_PLANTED";'           # a name outside its table
plant launcher/main.c 'const char *page = "see docs/plan.md";'           # a page by its place in this tree
plant docs/plan.md '[nowhere](no-such-page.md)'                         # a dead link
long=$(printf 'word %.0s' $(seq 30))
plant common/log.c "/* $long*/"                                         # 121 columns and more: of a comment,
plant docs/gates.md "$long"                                             # of a page, whose tables and commands may,
plant docs/gates.md "| $long |"
plant docs/gates.md "    muster $long"
plant tests/e2e/lib.sh "# $long"                                        # of a script's comment
printf 'no end' >>"$tree/tests/e2e/key.sh"
for i in $(seq 31); do echo "int mu_planted_$i;" >"$tree/launcher/http/planted_$i.c"; done
check 1 'dataset/store/dataset.c:1: .*may not include "launcher/cmd/cmd.h"' 'in a circle: dataset/store launcher/cmd' \
    'worker/main.c:1: .*launch_env' 'launcher/main.c:1: .*MU_PAGE' 'docs/plan.md:1: .*no-such-page.md' 'launcher/http: 3[0-9] sources' \
    'common/log.c:1: .*120 columns' 'docs/gates.md:3: .*120 columns' 'tests/e2e/lib.sh:1: .*120 columns' 'tests/e2e/key.sh:1: no newline'
[ "$(grep -c '^docs/gates.md' "$scratch/out")" = 1 ] || fail "a table or a command counts as prose: $(grep '^docs/gates' "$scratch/out")"

# Two files of a library that call each other.
mkdir -p "$scratch"/lib/{common,dataset,kernels,launcher,worker}
cat >"$scratch/one.c" <<'END'
int two(void);
int one(void) { return two(); }
END
cat >"$scratch/two.c" <<'END'
int one(void);
int two(void) { return one(); }
END
(cd "$scratch" && cc -c one.c -o one.c.o && cc -c two.c -o two.c.o)
for folder in common dataset kernels launcher worker; do ar rc "$scratch/lib/$folder/libmu_$folder.a"; done
(cd "$scratch" && ar rc lib/common/libmu_common.a one.c.o)
"$MUSTER_SOURCE/scripts/check-circles" "$scratch/lib" || fail "check-circles: one file is a circle"
(cd "$scratch" && ar rc lib/common/libmu_common.a two.c.o)
expect_exit 1 "$MUSTER_SOURCE/scripts/check-circles" "$scratch/lib" 2>"$scratch/out"
grep -q 'one.*two\|two.*one' "$scratch/out" || fail "$(cat "$scratch/out")"

# check-tidy: a mistake that the compilers' warnings do not find
mkdir "$scratch/tidy"
cat >"$tree/common/planted.c" <<'END'
#include <string.h>
int mu_planted(const char *a, const char *b);
int mu_planted(const char *a, const char *b)
{
    return strcmp(a, b) == -1;
}
END
cat >"$scratch/tidy/compile_commands.json" <<END
[{
  "directory": "$tree",
  "command": "cc -c common/planted.c",
  "file": "$tree/common/planted.c"
}]
END
code=0
"$tree/scripts/check-tidy" "$scratch/tidy" >"$scratch/out" 2>&1 || code=$?
case $code in
77) echo "check-tidy: $(cat "$scratch/out")" ;;
1) grep -q 'common/planted.c:5:.*suspicious' "$scratch/out" || fail "$(cat "$scratch/out")" ;;
*) fail "check-tidy: exit $code, wanted 1: $(cat "$scratch/out")" ;;
esac
