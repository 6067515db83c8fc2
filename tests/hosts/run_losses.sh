# Over four hosts, of which only one sees the data, a run has the losses of one machine in the same layout, bit for bit.
. "$(dirname "$0")/run_lib.sh"
fleet head one two three

begin one_machine --workers 4
ended 0
begin four_hosts --hosts head:1,one:1,two:1,three:1
ended 0
same_end one_machine four_hosts
grep -q 'layout .*tp 1 x dp 4' "$LAB/four_hosts.err" || lab_fail "another layout than tp 1 x dp 4"

begin one_machine_tp --workers 4 model_parallel_size=2
ended 0
begin two_hosts_tp --hosts one:2,three:2 model_parallel_size=2
ended 0
same_end one_machine_tp two_hosts_tp
grep -q 'layout .*tp 2 x dp 2' "$LAB/two_hosts_tp.err" || lab_fail "another layout than tp 2 x dp 2"
# another layout is another order of summation, and no more than that
paste <(losses "$LAB/volume/four_hosts") <(losses "$LAB/volume/two_hosts_tp") |
    sed -nE '1,50s/.*"loss": ([^,]+),.*"loss": ([^,]+),.*/\1 \2/p' |
    awk '{ d = $1 - $2; if (d < 0) d = -d; if (d > 1e-4 * $1) bad = 1 } END { exit bad || NR != 50 }' ||
    lab_fail "the losses of the two layouts differ"
