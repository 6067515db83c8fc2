# shellcheck shell=bash
# Rows of the table in docs/faults.md, from the tests that make the faults. Sourced by tests/e2e/lib.sh and
# tests/hosts/lab.sh.
#
#     fault FAULT REPORTED CODE SECONDS LOST     one row, appended to the file that MUSTER_FAULTS names; without it nothing
#     first_error FILE                           what a program's standard error said first as an error or a warning
#     finding FILE CHECK                         what preflight found there: the check, its hosts, what was found
#     tests/fault/table FILE                     the table

fault() {
    local test words
    [ -n "${MUSTER_FAULTS:-}" ] || return 0
    test=$(basename "$(dirname "$0")").$(basename "$0" .sh)
    words=$(tr '\t\n' '  ' <<<"$2" | sed -E "s#(/var)?/tmp/muster-(lab|e2e)-[A-Za-z0-9]+#...#g; s#\\($(hostname)([,)])#(host\\1#; s# +\$##")
    [ ${#words} -le 170 ] || words="${words:0:105} ... ${words: -60}"
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$words" "$3" "$4" "$5" "$test" >>"$MUSTER_FAULTS"
}

# The list of hosts that are not ready begins with their number; the cause is its next line, the host the one after.
first_error() {
    awk '/^muster: (error|warning): / { if (/are not ready/) { list = 1; next } print; if (!list) exit; next }
         list && /^ / { print; exit }' "$1" | sed -E 's/^muster: (error|warning): *//; s/^ +//; s/  +/ /g' | paste -sd ';' | sed 's/;/; /'
}

finding() {
    grep -m 1 -A1 -E "^muster: (error|warning):   $2 " "$1" | sed -E 's/^muster: (error|warning): *//; s/^ *found: //; s/; wanted: .*//; s/  +/ /g' |
        paste -sd ':' | sed 's/:/: /'
}
